"""`verify` on models that are right, beside the filling of their parameters."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from autoinit import initialize, verify

from .rows import Row
from .schemes import LINEARS, VIT, Scheme
from .stopwatch import medians
from .subjects import linears, vit

GOAL = 3.0


def rows(quick: bool = False) -> Iterator[Row]:
    """Large tensors, to which the goal applies, and many small ones."""
    layers = 100 if quick else 1_000
    yield compare("vit_b_16", vit("vit_b_16", quick), VIT, goal=GOAL)
    yield compare("vit_l_16", vit("vit_l_16", quick), VIT, goal=GOAL)
    yield compare(f"{layers:,} x Linear(4, 4)", linears(layers), LINEARS, goal=None)


def compare(name: str, model: nn.Module, scheme: Scheme, goal: float | None) -> Row:
    """One model, filled and verified in turns."""
    report = initialize(model, scheme.cfg, seed=0)
    contenders = {"verify": lambda: verify(model, report), "initialize": lambda: initialize(model, scheme.cfg, seed=0)}
    measured = medians(contenders, 3)
    return Row(
        bench="verification",
        case=name,
        ours=measured["verify"],
        reference="initialize(), the filling",
        theirs=measured["initialize"],
        at_most=goal,
    )
