"""A model that exists already, initialized by `initialize()` and by each rival."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from autoinit import initialize

from .rows import Row
from .stopwatch import medians
from .subjects import (
    LINEAR_CFG,
    VIT_CFG,
    initialize_by_hand,
    initialize_linears_by_hand,
    initialize_with_mmengine,
    linears,
    vit,
)


def rows(quick: bool = False) -> Iterator[Row]:
    """A few large tensors, and many small ones."""
    layers = 100 if quick else 10_000
    yield from compare("vit_b_16", vit("vit_b_16", quick), VIT_CFG, initialize_by_hand, 3)
    small = linears(layers)
    yield from compare(f"{layers:,} x Linear(4, 4)", small, LINEAR_CFG, initialize_linears_by_hand, 3 if quick else 7)


def compare(
    name: str, model: nn.Module, cfg: list[dict[str, Any]], by_hand: Callable[[nn.Module], None], rounds: int
) -> Iterator[Row]:
    """One model and config, over both rivals."""
    rivals = {
        "mmengine init_weights()": lambda: initialize_with_mmengine(model, cfg),
        "torch.nn.init by hand": lambda: by_hand(model),
    }
    measured = medians({"autoinit": lambda: initialize(model, cfg), **rivals}, rounds)
    for rival in rivals:
        yield Row(
            bench="initialization",
            case=name,
            ours=measured["autoinit"],
            reference=rival,
            theirs=measured[rival],
        )
