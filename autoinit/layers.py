"""Which classes a `layer` means."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy as is_uninitialized

from .errors import nearest


@lru_cache(maxsize=8192)
def lineage(cls: type) -> tuple[type, ...]:
    """A module class and its ancestors below `nn.Module`; a lazy one is already what it will become.

    Example:
        >>> from torch import nn
        >>> [base.__name__ for base in lineage(nn.LazyBatchNorm1d)][2:]
        ['BatchNorm1d', '_BatchNorm', '_NormBase']
    """
    bases = [*cls.__mro__, *future_of(cls).__mro__]
    outside = (object, nn.Module, LazyModuleMixin)
    # A base that both have counts where it stands among the more general ones.
    return tuple(base for at, base in enumerate(bases) if base not in outside and base not in bases[at + 1 :])


def future_of(cls: type) -> type:
    """What a lazy module class will become when its parameters have shapes; any other class is that already."""
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
    if is_uninitialized(tensor):
        return True
    cls = type(tensor)
    return cls is not nn.Parameter and issubclass(cls, nn.Parameter) and tensor.shape == (0,)


@lru_cache(maxsize=8192)
def names_of(cls: type) -> frozenset[str]:
    """Every name that stands for a module class: its own and those of all its ancestors below `nn.Module`.

    Example:
        >>> from torch import nn
        >>> sorted(names_of(nn.BatchNorm2d))[:2]
        ['BatchNorm2d', '_BatchNorm']
    """
    return frozenset(
        name for base in lineage(cls) for name in (base.__name__, f"{base.__module__}.{base.__qualname__}")
    )


def class_name(module: nn.Module) -> str:
    """What a module is called: by its class before a parametrization made one of its own, or after it is lazy.

    Example:
        >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
        >>> type(layer).__name__, class_name(layer), class_name(nn.LazyLinear(2))
        ('ParametrizedLinear', 'Linear', 'Linear')
    """
    cls = type(module)
    # Not every object with modules was initialized as one.
    if "parametrizations" in module.__dict__.get("_modules", ()):
        cls = cls.__bases__[0]
    return future_of(cls).__name__


def is_layer(cls: type, layer: str | type) -> bool:
    """Whether a module class is a `layer`, which is a class, a class name, or a qualified one.

    Example:
        >>> from torch import nn
        >>> is_layer(nn.Conv2d, "torch.nn.Conv2d"), is_layer(nn.Conv2d, nn.Linear)
        (True, False)
    """
    if isinstance(layer, type):
        return _descends(cls, layer)
    if layer in names_of(cls):
        return True
    exported = exported_class(layer) if "." in layer else None
    return exported is not None and exported is not nn.Module and _descends(cls, exported)


def _descends(cls: type, base: type) -> bool:
    return base in lineage(cls) or issubclass(cls, base)


def exported_class(path: str) -> type | None:
    """The class at a dotted path through modules that are imported already; `torch.nn.Conv2d` is defined elsewhere."""
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def all_subclasses(cls: type) -> Iterator[type]:
    """Every class below `cls` that this process has defined."""
    children: list[type] = cls.__subclasses__()
    for child in children:
        yield child
        yield from all_subclasses(child)


def is_known(layer: str | type) -> bool:
    """Whether any module class of this process is meant, in whatever model."""
    return isinstance(layer, type) or any(is_layer(cls, layer) for cls in all_subclasses(nn.Module))


def suggestion(layers: Iterable[str | type], census: Counter[type]) -> str:
    """The nearest name among the classes of a model, with how many modules it would match."""
    counts: Counter[str] = Counter()
    for cls, count in census.items():
        for name in names_of(cls):
            if "." not in name:
                counts[name] += count
    for layer in layers:
        if isinstance(layer, str):
            hint = nearest(layer.rpartition(".")[2], counts)
            if hint:
                count = counts[hint.split("'")[1]]
                return hint.replace("?", f" ({count} module{'s' if count > 1 else ''})?")
    present = ", ".join(name for name, _ in Counter({cls.__name__: n for cls, n in census.items()}).most_common(8))
    return f" The model has: {present}."
