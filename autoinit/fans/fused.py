"""Layers whose weight is several weights in one, such as q, k and v: only the module around them knows the sizes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any, NamedTuple

from torch import nn
from torch.nn.parameter import is_lazy

from .. import _torch
from ..layers import names_of
from .conventions import own_layout, said_of_inner
from .fused_layers import EQUAL_PARTS, FUSED, Fused
from .layout import Layout

ONE_MAP = (Layout(), Layout(axes="out,in"), Layout(axes="in,out"))
"""How a weight is read that is not known to hold several maps."""

OTHER_NAMES = {
    "num_heads": ("num_attention_heads", "n_heads", "n_head"),
    "num_key_value_heads": ("num_kv_heads", "kv_n_heads"),
    "head_dim": ("head_size", "attention_head_size", "head_width", "dim_head"),
}
"""What else a number may be called."""


class Whole(NamedTuple):
    """A layer as one map: how its weight is read, how many features go in, and how many come out."""

    layout: Layout
    inputs: int
    outputs: int


_FUSED: dict[str, list[Fused]] = {}
for _row in FUSED:
    _FUSED.setdefault(_row.path.partition(".")[0], []).append(_row)

_EQUAL = {
    layer: (readers.split(), count, parts) for layers, readers, count, parts in EQUAL_PARTS for layer in layers.split()
}


def inner_layouts(module: nn.Module) -> dict[str, Layout | None]:
    """How parameters inside a module are read, by path, where something is known of them.

    What is registered for its class comes first; then what its numbers say, and what the layers beside each other say.

    Raises:
        ShapeError: a convention failed.
    """
    found = said_of_inner(module)
    if module._modules:
        for path, layout in fused_layouts(module):
            found.setdefault(path, layout)
    return found


def fused_layouts(module: nn.Module) -> Iterator[tuple[str, Layout]]:
    """The paths of weights inside a module that hold several maps, with how these are read."""
    cls: type = type(module)
    children = module._modules
    for name in children.keys() & _FUSED.keys():
        for kind in _kinds(cls, name):
            yield from _by_numbers(kind, module)
    for name in children.keys() & _EQUAL.keys():
        readers, count, parts = _EQUAL[name]
        whole = _whole(children[name])
        if whole is None:
            continue
        if any(whole.outputs == count * _inputs(children[reader]) for reader in readers if reader in children):
            yield f"{name}.weight", _split(whole, (1,) * count, 1, parts)


@lru_cache(maxsize=8192)
def _kinds(cls: type, name: str) -> tuple[Fused, ...]:
    """Those that a class may have under a name, in the order in which they were entered."""
    names = names_of(cls)
    return tuple(kind for kind in _FUSED[name] if not kind.within or not names.isdisjoint(kind.within.split()))


@cache
def _needs(kind: Fused) -> tuple[str, ...]:
    """The names of the numbers that say the sizes."""
    return tuple(inspect.signature(kind.sizes).parameters)


def _layers_at(module: nn.Module, path: str) -> list[tuple[str, nn.Module]]:
    found = [("", module)]
    for step in path.split("."):
        found = [
            (f"{above}.{name}" if above else name, child)
            for above, layer in found
            for name, child in layer._modules.items()
            if child is not None and step in (name, "*")
        ]
    return found


def _whole(layer: nn.Module | None) -> Whole | None:
    """A layer as one map; None for what has no such weight, or is known to consist of several already."""
    weight = layer._parameters.get("weight") if layer is not None else None
    if layer is None or weight is None or is_lazy(weight) or weight.dim() < 2:
        return None
    layout = own_layout(layer, "weight") or Layout()
    if layout not in ONE_MAP or not (layout.axes.endswith("...") or weight.dim() == 2):
        return None
    out, in_ = weight.shape[:2] if layout.axes.startswith("out") else reversed(weight.shape[:2])
    return Whole(layout, in_, out)


def _by_numbers(kind: Fused, module: nn.Module) -> Iterator[tuple[str, Layout]]:
    """The layers of a kind of which the module's numbers make up the whole."""
    numbers = _numbers(kind, module)
    if numbers is None:
        return
    for path, layer in _layers_at(module, kind.path):
        whole = _whole(layer)
        if whole is None:
            continue
        if "out" in numbers:
            numbers["out"] = whole.outputs
        parts, often = kind.sizes(**numbers)
        sizes, repeats = tuple(int(size) for size in parts), int(often)
        if sum(sizes) * repeats == whole.outputs and min(*sizes, repeats) > 0:
            yield f"{path}.weight", _split(whole, sizes, repeats, kind.parts)


def _numbers(kind: Fused, module: nn.Module) -> dict[str, float] | None:
    """The numbers that a kind needs, by name, unless the module lacks one."""
    found = {}
    for name in _needs(kind):
        number = 0 if name == "out" else _number(module, name)
        if number is None:
            return None
        found[name] = number
    return found


def _number(module: nn.Module, name: str) -> float | None:
    for holder in (module.__dict__, getattr(module.__dict__.get("config"), "__dict__", {})):
        for each in (name, *OTHER_NAMES.get(name, ())):
            value: Any = holder.get(each)
            if isinstance(value, (int, float)):
                return value
    return None


def _inputs(layer: nn.Module | None) -> int:
    """How many features a layer reads; 0 if that is not known."""
    if isinstance(layer, _torch.ConvNd):
        return layer.in_channels
    whole = _whole(layer)
    return whole.inputs if whole is not None else 0


def _split(whole: Whole, sizes: tuple[int, ...], repeats: int, parts: str) -> Layout:
    equal = len(set(sizes)) == 1
    return replace(whole.layout, splits=len(sizes) if equal else sizes, repeats=repeats, label=parts)
