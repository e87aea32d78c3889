"""A model that exists already, initialized by `initialize()` and by each rival."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from autoinit import initialize

from .contenders import initialize_with_mmengine
from .rows import Row
from .schemes import LINEARS, VIT, Scheme
from .stopwatch import medians
from .subjects import linears, vit


def rows(quick: bool = False) -> Iterator[Row]:
    """A few large tensors, and many small ones."""
    layers = 100 if quick else 10_000
    yield from compare("vit_b_16", vit("vit_b_16", quick), VIT, 3)
    small = linears(layers)
    yield from compare(f"{layers:,} x Linear(4, 4)", small, LINEARS, 3 if quick else 7)


def compare(name: str, model: nn.Module, scheme: Scheme, rounds: int) -> Iterator[Row]:
    """One model and scheme, over both rivals."""
    rivals = {
        "mmengine init_weights()": lambda: initialize_with_mmengine(model, scheme.cfg),
        "torch.nn.init by hand": lambda: scheme.by_hand(model),
    }
    measured = medians({"autoinit": lambda: initialize(model, scheme.cfg), **rivals}, rounds)
    for rival in rivals:
        yield Row(
            bench="initialization",
            case=name,
            ours=measured["autoinit"],
            reference=rival,
            theirs=measured[rival],
        )
