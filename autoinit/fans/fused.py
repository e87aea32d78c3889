"""Layers whose weight holds several maps, such as q, k and v: only the module around them knows the sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from types import CodeType
from typing import Any, NamedTuple

from torch import nn
from torch.nn.parameter import is_lazy

from .. import _torch
from ..layers import names_of
from .conventions import own_layout, registered_inner_layouts
from .fused_layers import EQUAL_PARTS, FUSED, Fused
from .layout import Layout

ONE_MAP = (Layout(), Layout(axes="out,in"), Layout(axes="in,out"))
"""Layouts of weights that are not known to hold several maps."""

OTHER_NAMES = {
    "num_heads": ("num_attention_heads", "n_heads", "n_head"),
    "num_key_value_heads": ("num_kv_heads", "kv_n_heads"),
    "head_dim": ("head_size", "attention_head_size", "head_width", "dim_head"),
}
"""Synonyms of a number's name."""

_FUSED: dict[str, list[tuple[str, Fused]]] = {}
for _row in FUSED:
    for _path in _row.paths.split():
        _FUSED.setdefault(_path.partition(".")[0], []).append((_path, _row))
_EQUAL = {
    name: (readers.split(), count, parts) for names, readers, count, parts in EQUAL_PARTS for name in names.split()
}


class Whole(NamedTuple):
    """A layer as one map: its layout, and its numbers of input and output features."""

    layout: Layout
    inputs: int
    outputs: int


def inner_layouts(module: nn.Module) -> dict[str, Layout | None]:
    """The layouts of parameters inside a module, by path, where they are known.

    A layout that is registered for the module's class comes first; then those that follow from its numbers, and those
    that follow from the layers beside each other.

    Raises:
        ShapeError: a convention failed.
    """
    found = registered_inner_layouts(module)
    children = module._modules
    cls: type = type(module)
    for name in children.keys() & _FUSED.keys():
        for path, kind in _FUSED[name]:
            if not kind.within or not names_of(cls).isdisjoint(kind.within.split()):
                for fqn, layout in _by_numbers(path, kind, module):
                    found.setdefault(fqn, layout)
    for name in children.keys() & _EQUAL.keys():
        readers, count, parts = _EQUAL[name]
        whole = _whole(children[name])
        if whole is not None and whole.outputs in (count * _inputs(children.get(reader)) for reader in readers):
            found.setdefault(f"{name}.weight", replace(whole.layout, splits=count, label=parts))
    return found


def _by_numbers(path: str, kind: Fused, module: nn.Module) -> Iterator[tuple[str, Layout]]:
    """The layers of a kind whose outputs are as many as the module's numbers say."""
    code = _compiled(kind)
    numbers = {name: 0 if name == "out" else _number(module, name) for name in code.co_names}
    if None in numbers.values():
        return
    for fqn, layer in _layers_at(module, path):
        whole = _whole(layer)
        if whole is None:
            continue
        parts, often = eval(code, {"__builtins__": {}}, numbers | {"out": whole.outputs})
        sizes, repeats = tuple(int(size) for size in parts), int(often)
        if sizes and sum(sizes) * repeats == whole.outputs and min(*sizes, repeats) > 0:
            splits = len(sizes) if len(set(sizes)) == 1 else sizes
            yield f"{fqn}.weight", replace(whole.layout, splits=splits, repeats=repeats, label=kind.parts)


@cache
def _compiled(kind: Fused) -> CodeType:
    """The code of the sizes and repeats in the table, which are no input of a user."""
    return compile(f"({kind.sizes}), ({kind.repeats})", kind.paths, "eval")


def _number(module: nn.Module, name: str) -> float | None:
    for holder in (module.__dict__, getattr(module.__dict__.get("config"), "__dict__", {})):
        for each in (name, *OTHER_NAMES.get(name, ())):
            value: Any = holder.get(each)
            if isinstance(value, (int, float)):
                return value
    return None


def _layers_at(module: nn.Module, path: str) -> list[tuple[str, nn.Module | None]]:
    found: list[tuple[str, nn.Module | None]] = [("", module)]
    for step in path.split("."):
        found = [
            (f"{above}.{name}".lstrip("."), child)
            for above, layer in found
            for name, child in (layer._modules if layer is not None else {}).items()
            if step in (name, "*")
        ]
    return found


def _whole(layer: nn.Module | None) -> Whole | None:
    """A layer as one map; None if it has no such weight, or is known to consist of several already."""
    weight = layer._parameters.get("weight") if layer is not None else None
    if layer is None or weight is None or is_lazy(weight) or weight.dim() < 2:
        return None
    layout = own_layout(layer, "weight") or Layout()
    if layout not in ONE_MAP or not (layout.axes.endswith("...") or weight.dim() == 2):
        return None
    out, in_ = weight.shape[:2] if layout.axes.startswith("out") else reversed(weight.shape[:2])
    return Whole(layout, in_, out)


def _inputs(layer: nn.Module | None) -> int:
    """How many features a layer reads; 0 if unknown."""
    if isinstance(layer, _torch.ConvNd):
        return layer.in_channels
    whole = _whole(layer)
    return whole.inputs if whole is not None else 0
