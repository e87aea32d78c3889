"""Registered names of schemes, autoinit's and users'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from ..errors import ConfigError, ConfigTypeError

Factory = Callable[..., Any]
F = TypeVar("F", bound=Factory)

_REGISTRY: dict[str, Factory] = {}
registered: Mapping[str, Factory] = MappingProxyType(_REGISTRY)
"""Every registered name with its `Initializer` class, or its function that fills a tensor."""


def canonical_name(name: str) -> str:
    """A registered name without its scope and without `Init` at its end, both of which OpenMMLab configs may have.

    Example:
        >>> canonical_name("mmengine.KaimingInit")
        'Kaiming'
    """
    name = name.rpartition(".")[2]
    return name.removesuffix("Init") or name


def register_initializer(name: str, *, force: bool = False) -> Callable[[F], F]:
    """Give a scheme a name that configs can use as `type`.

    Args:
        name: without dots; `Init` at its end is not part of it.
        force: replace the scheme that has the name already.

    Returns:
        A decorator for a subclass of `autoinit.initializers.Initializer`, or for a function that fills a tensor
        in place and takes its hyper-parameters by keyword.

    Raises:
        ConfigError: another scheme has the name.

    Example:
        >>> import torch
        >>> from autoinit import initialize, register_initializer
        >>> @register_initializer("Checkerboard")
        ... def checkerboard_(tensor, *, high=1.0):
        ...     tensor.zero_().view(-1)[::2] = high
        >>> layer = torch.nn.Linear(2, 2)
        >>> _ = initialize(layer, dict(type="Checkerboard", high=3.0, layer="Linear"))
        >>> layer.weight.tolist()
        [[3.0, 0.0], [3.0, 0.0]]
    """
    if not isinstance(name, str) or not name or "." in name:
        raise ConfigTypeError(f"register_initializer: name={name!r} must be a string without dots.")
    key = canonical_name(name)

    def register(factory: F) -> F:
        if not callable(factory):
            raise ConfigTypeError(f"register_initializer({name!r}): {factory!r} is neither a class nor a function.")
        known = _REGISTRY.get(key)
        if not force and known is not None and _identity(known) != _identity(factory):
            raise ConfigError(
                f"register_initializer: {key!r} is the name of {_identity(known)} already. Choose another."
            )
        _REGISTRY[key] = factory
        return factory

    return register


def _identity(factory: Factory) -> str:
    # By name, so that a module that is imported again (a notebook, importlib.reload) may register again.
    if not hasattr(factory, "__qualname__"):  # A callable object, such as functools.partial makes.
        return repr(factory)
    return f"{factory.__module__}.{factory.__qualname__}"
