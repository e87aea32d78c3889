"""Configs in the containers of other libraries, and containers that their owner may change later."""

from __future__ import annotations

from collections.abc import MutableMapping, MutableSequence
from types import MappingProxyType

from ..errors import AutoInitError, ConfigError


def plain(value: object, origin: str) -> object:
    """A config with dicts and lists of its own, whatever its mappings and sequences are; what they hold is kept.

    Raises:
        ConfigError: a container cannot be read (an unresolved interpolation of omegaconf's), or contains itself.

    Example:
        >>> from collections import OrderedDict
        >>> plain([OrderedDict(type="Normal", layer=("Linear",))], "init_cfg")
        [{'type': 'Normal', 'layer': ('Linear',)}]
    """
    try:
        return _copied(value, origin)
    except RecursionError as error:
        raise ConfigError(f"{origin}: a list or dict in it contains itself.", origin=origin) from error


def _copied(value: object, origin: str) -> object:
    if type(value) is tuple:
        return tuple(_copied(item, f"{origin}[{index}]") for index, item in enumerate(value))
    if isinstance(value, (MutableMapping, MappingProxyType)):
        return {key: _copied(_item(value, key, f"{origin}.{key}"), f"{origin}.{key}") for key in value}
    if isinstance(value, MutableSequence) and not isinstance(value, bytearray):
        indices = range(len(value))
        return [_copied(_item(value, index, f"{origin}[{index}]"), f"{origin}[{index}]") for index in indices]
    return value


def _item(container: object, key: object, origin: str) -> object:
    try:
        return container[key]  # type: ignore[index]
    except AutoInitError:
        raise
    except Exception as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{origin}: {text}.", origin=origin) from error
