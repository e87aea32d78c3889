"""`verify` on models that are right, beside the filling of their parameters."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from autoinit import initialize, verify

from .rows import Row, beside
from .schemes import LINEARS, VIT, Scheme
from .stopwatch import medians
from .subjects import linears, vit

FILLING = "initialize(), the filling"
GOAL = {FILLING: 3.0}


def rows(quick: bool = False) -> Iterator[Row]:
    """Large tensors, to which the goal applies, and many small ones."""
    layers = 100 if quick else 1_000
    for name in ("vit_b_16", "vit_l_16"):
        yield from compare(name, vit(name, quick), VIT, GOAL)
    yield from compare(f"{layers:,} x Linear(4, 4)", linears(layers), LINEARS, {})


def compare(name: str, model: nn.Module, scheme: Scheme, goal: dict[str, float]) -> Iterator[Row]:
    report = initialize(model, scheme.cfg, seed=0)
    contenders = {"verify": lambda: verify(model, report), FILLING: lambda: initialize(model, scheme.cfg, seed=0)}
    yield from beside("verification", name, medians(contenders, 3), goal)
