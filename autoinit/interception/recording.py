"""Modules recorded in the blocks and observers that are open: those that are built, and copies of them."""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

from torch import nn

from ..patches import Patches, around
from ..planning import ENGINES
from .extents import Extent, extents_of, is_paused

patches = Patches()
"""Installed while any block or observer is open."""


def record(extent: Extent, module: nn.Module) -> None:
    """Record a module; with the first of its class, wrap the `init_weights` and `__deepcopy__` of the class."""
    extent.built.add(module)
    cls: type = type(module)
    if cls not in extent.classes:
        # An `init_cfg` is a class attribute, or set by a constructor.
        inits = [base.__dict__.get("__init__") for base in cls.__mro__]
        names = [each.__code__.co_names for each in inits if isinstance(each, FunctionType)]
        extent.classes[cls] = hasattr(cls, "init_cfg") or any("init_cfg" in each for each in names)
        wrap_own_methods(cls)


def wrap_own_methods(cls: type) -> None:
    """Wrap the `init_weights` and `__deepcopy__` of a class and its ancestors until the last block ends."""
    for base in cls.__mro__:
        for name, wrapper in OWN_METHODS.items():
            # A plain method: some classes have an option or a property of that name.
            if isinstance(base.__dict__.get(name), FunctionType) and base.__module__ not in ENGINES:
                patches.also(base, name, around(wrapper))


def on_new_class(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """A module that gets its first parametrization gets a class of its own, with a `__deepcopy__` of its own."""
    value = wrapped(*args, **kwargs)
    module: nn.Module = args[0] if args else kwargs["module"]
    if any(extents_of(module)):
        wrap_own_methods(type(module))
    return value


def _on_init_weights(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    for extent in extents_of(instance):
        extent.built.called.add(id(instance))
    return wrapped(*args, **kwargs)


_make: Callable[..., Any] = copyreg.__newobj__  # type: ignore[attr-defined]


class Remake:
    """Makes the empty object that a deep copy starts as, and records it: `copy.deepcopy` calls no constructor."""

    def __init__(self, original: nn.Module) -> None:
        self._original = original

    def __call__(self, cls: type[nn.Module], *args: object) -> nn.Module:
        made: nn.Module = _make(cls, *args)
        record_copy(made, self._original)
        return made

    def __reduce__(self) -> tuple[object, ...]:
        # Pickled inside a block, a module must not need autoinit to be read again.
        return functools.partial, (_make,)


def on_reduce(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    """Record the copy that is about to be made of a module of a block."""
    value = wrapped(*args, **kwargs)
    if isinstance(value, tuple) and value[0] is _make and any(extents_of(instance)):
        return (Remake(instance), *value[1:])
    return value


def _on_deepcopy(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    """Record the copy that a class makes with a `__deepcopy__` of its own."""
    made = wrapped(*args, **kwargs)
    if isinstance(made, nn.Module) and made is not instance:
        record_copy(made, instance)
    return made


def record_copy(made: nn.Module, original: nn.Module) -> None:
    """Record a copy in the blocks that the original was built in, unless they are paused."""
    for extent in extents_of(original):
        if made not in extent.built and not is_paused(extent):
            record(extent, made)
            for marked in (extent.built.called, extent.built.final):
                if id(original) in marked:
                    marked.add(id(made))


OWN_METHODS = {"init_weights": _on_init_weights, "__deepcopy__": _on_deepcopy}
