"""The registry of layouts by layer, autoinit's and users'."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from torch import nn

from ..errors import AutoInitError, ConfigError, ConfigTypeError, ShapeError, nearest
from ..layers import is_layer, lineage
from .layout import Layout

Reading = Layout | Mapping[str, Any] | str
"""A `Layout`, its arguments, or its axes."""

Convention = Callable[[Any], Reading | None]
"""From a module to the layout of its parameter; None for torch's."""

F = TypeVar("F", bound=Convention)


class Registered(NamedTuple):
    """One entry of the registry."""

    layer: str | type
    params: str
    fan: Layout | Convention

    def layout(self, module: nn.Module) -> Layout | None:
        """The layout by this convention of a parameter of the module; None for torch's."""
        name = self.layer if isinstance(self.layer, str) else self.layer.__qualname__
        try:
            read = self.fan(module) if callable(self.fan) else self.fan
            layout = None if read is None else as_layout(read)
        except AutoInitError as error:
            raise ShapeError(f"the fan convention of {name!r} is wrong: {error}") from error
        except Exception as error:  # A user's function may raise anything.
            raise ShapeError(
                f"the fan convention of {name!r} failed on a {type(module).__name__}: {type(error).__name__}: {error}. "
                "Register another with autoinit.register_fan, or write fan='torch' in the rule."
            ) from error
        return layout if layout is None or layout.label else replace(layout, label=name.rpartition(".")[2])


_REGISTRY: dict[tuple[str | type, str], Registered] = {}
"""By layer and glob over parameter names; what was registered last is at the end."""


def as_layout(fan: Reading) -> Layout:
    """A layout from one of the forms in which users write it.

    Raises:
        ConfigError, ConfigTypeError: an invalid value, or one of a wrong type.

    Example:
        >>> as_layout("expert,in,out").axes, as_layout(dict(axes="in,out", splits=3)).splits
        ('expert,in,out', 3)
    """
    if isinstance(fan, Layout):
        return fan
    if isinstance(fan, str):
        return Layout(axes=fan)
    if isinstance(fan, Mapping):
        known = [f.name for f in fields(Layout) if f.name != "label"]
        for key in fan:
            if key not in known:
                raise ConfigTypeError(f"{key!r} is unknown.{nearest(str(key), known)} Known: {', '.join(known)}.")
        return Layout(**fan)
    raise ConfigTypeError(
        f"{fan!r} must be axes such as 'expert,in,out', a dict or a Layout, not {type(fan).__name__}."
    )


def register_fan(layer: str | type, fan: Reading | None = None, *, params: str = "weight") -> Callable[[F], F]:
    """Register how the fans of a layer's weight are read: at once, or as a decorator of a function of the module.

    Args:
        layer: class or its name; subclasses are included.
        fan: axes (`"expert,in,out"`), a dict (`dict(axes="in,out", splits=3)`) or a `Layout`. Without it the result
            decorates a function that gets the module and returns one of these, or None for torch's reading.
        params: glob over parameter names of the layer; with dots the exact path of a parameter inside it.
            A convention of an outer layer overrides one of the parameter's own layer; a later call overrides an
            earlier one.

    Raises:
        ConfigError, ConfigTypeError: an invalid value, or one of a wrong type.

    Example:
        >>> import torch
        >>> from autoinit import plan, register_fan
        >>> class Transposed(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.weight = torch.nn.Parameter(torch.empty(3, 12))
        >>> _ = register_fan("Transposed", "in,out")
        >>> plan(Transposed(), dict(type="LeCun", layer="Transposed"))["weight"].fans[0].fan_in
        3
        >>> @register_fan("Transposed")
        ... def fan_of_transposed(module):
        ...     return dict(axes="in,out", splits=module.weight.shape[1] // 4)
    """
    if not isinstance(layer, (str, type)) or not layer:
        raise ConfigTypeError(f"register_fan: layer={layer!r} must be a class or the name of one.")
    if isinstance(layer, type) and not issubclass(layer, nn.Module):
        raise ConfigTypeError(f"register_fan: class {layer.__qualname__} is not a torch.nn.Module.")
    if not isinstance(params, str) or not params:
        raise ConfigTypeError(f"register_fan: params={params!r} must be the name of a parameter.")

    def enter(fan: Layout | Convention) -> None:
        _REGISTRY.pop((layer, params), None)
        _REGISTRY[layer, params] = Registered(layer, params, fan)
        _of_class.cache_clear()
        _of_parameter.cache_clear()

    def decorate(function: F) -> F:
        if not callable(function):
            raise ConfigTypeError(f"register_fan({layer!r}): {function!r} is not a function.")
        enter(function)
        return function

    if fan is None:
        return decorate
    try:
        enter(as_layout(fan))
    except ConfigError as error:
        raise type(error)(f"register_fan({layer!r}): {error}") from error
    return lambda function: function


@lru_cache(maxsize=8192)
def _of_class(cls: type) -> tuple[Registered, ...]:
    """The entries of the registry for a class: the most specific layer first, and of one layer the latest."""
    bases = (*lineage(cls), nn.Module)
    found = [entry for entry in reversed(_REGISTRY.values()) if is_layer(cls, entry.layer)]
    return tuple(
        sorted(found, key=lambda entry: max(at for at, base in enumerate(bases) if is_layer(base, entry.layer)))
    )


@lru_cache(maxsize=8192)
def _of_parameter(cls: type, name: str) -> Registered | None:
    return next((entry for entry in _of_class(cls) if fnmatch.fnmatchcase(name, entry.params)), None)


def own_layout(module: nn.Module, name: str) -> Layout | None:
    """The layout of a parameter of a module by the convention of its class; None for torch's.

    Raises:
        ShapeError: the convention failed.
    """
    cls: type = type(module)
    entry = _of_parameter(cls, name)
    return None if entry is None else entry.layout(module)


def registered_inner_layouts(module: nn.Module) -> dict[str, Layout | None]:
    """The layouts that are registered for a module's class and parameters inside the module, by path.

    Raises:
        ShapeError: a convention failed.
    """
    cls: type = type(module)
    found: dict[str, Layout | None] = {}
    for entry in _of_class(cls):
        if "." in entry.params and entry.params not in found:
            found[entry.params] = entry.layout(module)
    return found
