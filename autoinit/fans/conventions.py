"""Which layers are read how: the registry that built-in conventions and users' are in."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from torch import nn

from ..errors import AutoInitError, ConfigError, ConfigTypeError, ShapeError, nearest
from ..layers import is_layer, lineage
from .experts import stacked_layout
from .layout import Layout

Reading = Layout | Mapping[str, Any] | str
"""What users write: axes, the arguments of a `Layout`, or a `Layout`."""

Convention = Callable[[Any], Reading | None]
"""From a module to how its parameter is read; None for as torch reads it."""

F = TypeVar("F", bound=Convention)


class Registered(NamedTuple):
    """One convention: the layer and the parameter that it is for, and how that is read."""

    layer: str | type
    params: str
    fan: Reading | Convention


_REGISTRY: dict[str | type, dict[str, Registered]] = {}


def as_layout(fan: Reading) -> Layout:
    """A layout from what users write.

    Raises:
        ConfigError, ConfigTypeError: it cannot mean anything.

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
    """Say how the fans of a layer's weight are read: at once, or as a decorator of a function of the module.

    Args:
        layer: a class or its name; it stands for its subclasses, too.
        fan: axes (`"expert,in,out"`), a dict (`dict(axes="in,out", splits=3)`) or a `Layout`. Without it the result
            decorates a function that gets the module and returns one of these, or None for as torch reads it.
        params: a glob over parameter names of the layer; with dots the exact path of a parameter inside it.
            What an outer layer says of a parameter beats what its own layer says. A later call beats an earlier one.

    Raises:
        ConfigError, ConfigTypeError: what is given cannot mean anything.

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
    if fan is None:

        def decorate(function: F) -> F:
            if not callable(function):
                raise ConfigTypeError(f"register_fan({layer!r}): {function!r} is not a function.")
            _enter(Registered(layer, params, function))
            return function

        return decorate
    try:
        _enter(Registered(layer, params, as_layout(fan)))
    except ConfigError as error:
        raise type(error)(f"register_fan({layer!r}): {error}") from error
    return lambda function: function


def _enter(registered: Registered) -> None:
    table = _REGISTRY.setdefault(registered.layer, {})
    table.pop(registered.params, None)
    table[registered.params] = registered
    _of_class.cache_clear()


@lru_cache(maxsize=8192)
def _of_class(cls: type) -> tuple[tuple[Registered, ...], tuple[Registered, ...]]:
    """The conventions for a class's own parameters and for those inside it, what counts first at the front."""
    bases = lineage(cls)
    distance = {
        layer: max(at for at, base in enumerate(bases) if is_layer(base, layer))
        for layer in _REGISTRY
        if is_layer(cls, layer)
    }
    layers = sorted(distance, key=lambda layer: distance[layer])
    found = [registered for layer in layers for registered in reversed(_REGISTRY[layer].values())]
    own = tuple(registered for registered in found if "." not in registered.params)
    inner = tuple(registered for registered in found if "." in registered.params)
    return own, inner


def own_layout(module: nn.Module, name: str) -> Layout | None:
    """How a parameter of a module is read by the convention of its class; None for as torch reads it.

    Raises:
        ShapeError: the convention failed.

    Example:
        >>> own_layout(nn.Conv2d(8, 8, 3, groups=8), "weight").groups
        8
        >>> own_layout(nn.Linear(2, 2), "weight") is None
        True
    """
    cls: type = type(module)
    for registered in _of_class(cls)[0]:
        if fnmatch.fnmatchcase(name, registered.params):
            return _layout(registered, module)
    return stacked_layout(module, name)


def said_of_inner(module: nn.Module) -> dict[str, Layout | None]:
    """How parameters inside a module are read, by path, where that is registered for its class.

    Raises:
        ShapeError: a convention failed.
    """
    cls: type = type(module)
    found: dict[str, Layout | None] = {}
    for registered in _of_class(cls)[1]:
        if registered.params not in found:
            found[registered.params] = _layout(registered, module)
    return found


def _layout(registered: Registered, module: nn.Module) -> Layout | None:
    name = registered.layer if isinstance(registered.layer, str) else registered.layer.__qualname__
    try:
        fan = registered.fan(module) if callable(registered.fan) else registered.fan
        layout = None if fan is None else as_layout(fan)
    except AutoInitError as error:
        raise ShapeError(f"the fan convention of {name!r} is wrong: {error}") from error
    except Exception as error:
        raise ShapeError(
            f"the fan convention of {name!r} failed on a {type(module).__name__}: {type(error).__name__}: {error}. "
            "Register another with autoinit.register_fan, or write fan='torch' in the rule."
        ) from error
    return layout if layout is None or layout.label else replace(layout, label=name.rpartition(".")[2])
