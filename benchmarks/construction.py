"""What a block costs a model that it does nothing to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from autoinit import autoinit

from .rows import Row
from .schemes import ABSENT_CFG
from .stopwatch import medians
from .subjects import linears, vit

GOAL = 1.15


def rows(quick: bool = False) -> Iterator[Row]:
    """Construction inside a block, over plain construction."""
    layers = 100 if quick else 10_000
    yield from compare("vit_b_16", lambda: vit("vit_b_16", quick), 3 if quick else 9)
    yield from compare(f"{layers:,} x Linear(4, 4)", lambda: linears(layers), 3 if quick else 15)


def compare(name: str, build: Callable[[], nn.Module], rounds: int) -> Iterator[Row]:
    """One model, with no rules and with one that matches nothing."""

    def within(cfg: list[dict[str, Any]]) -> Callable[[], nn.Module]:
        def build_within() -> nn.Module:
            with autoinit(cfg, unmatched="ignore"):
                return build()

        return build_within

    blocks = {"no rules": within([]), "no rule that matches": within(ABSENT_CFG)}
    measured = medians({"plain": build, **blocks}, rounds)
    for block in blocks:
        yield Row(
            bench="construction",
            case=f"{name}, {block}",
            ours=measured[block],
            reference="plain construction",
            theirs=measured["plain"],
            at_most=GOAL,
        )
