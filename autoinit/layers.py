"""Which classes a `layer` means, and what modules and lazy tensors are called."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy as is_uninitialized

from .errors import nearest


@lru_cache(maxsize=8192)
def lineage(cls: type) -> tuple[type, ...]:
    """A module class and its ancestors below `nn.Module`; a lazy one counts as what it will become."""
    bases = [*cls.__mro__, *materialized(cls).__mro__]
    outside = (object, nn.Module, LazyModuleMixin)
    # A base that both have counts where it stands among the more general ones.
    return tuple(base for at, base in enumerate(bases) if base not in outside and base not in bases[at + 1 :])


@lru_cache(maxsize=8192)
def materialized(cls: type) -> type:
    """The class that a lazy module's class becomes at its first call; any other class itself."""
    future = getattr(cls, "cls_to_become", None) if issubclass(cls, LazyModuleMixin) else None
    return future if isinstance(future, type) else cls


def is_lazy(tensor: torch.Tensor) -> bool:
    """Whether a parameter or buffer has no shape yet: torch's, or an empty parameter of a class of its own.

    Example:
        >>> class NotYet(nn.Parameter):
        ...     pass
        >>> is_lazy(nn.UninitializedParameter()), is_lazy(NotYet()), is_lazy(nn.Parameter())
        (True, True, False)
    """
    cls = type(tensor)
    if cls is nn.Parameter:
        return False
    return is_uninitialized(tensor) or (issubclass(cls, nn.Parameter) and tensor.shape == (0,))


@lru_cache(maxsize=8192)
def names_of(cls: type) -> frozenset[str]:
    """Every name that stands for a module class: its own and those of all its ancestors below `nn.Module`."""
    return frozenset(
        name for base in lineage(cls) for name in (base.__name__, f"{base.__module__}.{base.__qualname__}")
    )


def class_name(module: nn.Module) -> str:
    """The class name of a module: of a parametrized one as before, of a lazy one as after its first call.

    Example:
        >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
        >>> type(layer).__name__, class_name(layer), class_name(nn.LazyLinear(2))
        ('ParametrizedLinear', 'Linear', 'Linear')
    """
    cls: type = type(module)
    # Not every object with modules was initialized as one.
    if "parametrizations" in module.__dict__.get("_modules", ()):
        cls = cls.__bases__[0]
    return materialized(cls).__name__


def is_layer(cls: type, layer: str | type) -> bool:
    """Whether a module class is a `layer`, which is a class, a class name, or a qualified one.

    Example:
        >>> from torch import nn
        >>> is_layer(nn.Conv2d, "torch.nn.Conv2d"), is_layer(nn.Conv2d, nn.Linear)
        (True, False)
    """
    if isinstance(layer, str):
        if layer in names_of(cls):
            return True
        # torch.nn.Conv2d is defined elsewhere: look where it is exported, if that is imported already.
        path, _, name = layer.rpartition(".")
        exported = getattr(sys.modules.get(path), name, None) if path else None
        if not isinstance(exported, type) or exported is nn.Module:
            return False
        layer = exported
    return layer in lineage(cls) or issubclass(cls, layer)


def is_known(layer: str | type) -> bool:
    """Whether `layer` means any module class of this process, in whatever model."""
    waiting: list[type] = [nn.Module] if isinstance(layer, str) else []
    while waiting:
        children: list[type] = waiting.pop().__subclasses__()
        if any(is_layer(cls, layer) for cls in children):
            return True
        waiting += children
    return not isinstance(layer, str)


def suggestion(layers: Iterable[str | type], classes: Counter[type]) -> str:
    """The nearest name among the classes of a model, with the number of modules that it would match."""
    counts: Counter[str] = Counter()
    for cls, count in classes.items():
        counts.update(dict.fromkeys((name for name in names_of(cls) if "." not in name), count))
    for layer in layers:
        hint = nearest(layer.rpartition(".")[2], counts) if isinstance(layer, str) else ""
        if hint:
            count = counts[hint.split("'")[1]]
            return hint.replace("?", f" ({count} module{'s' if count > 1 else ''})?")
    present = ", ".join(name for name, _ in Counter({cls.__name__: n for cls, n in classes.items()}).most_common(8))
    return f" The model has: {present}."
