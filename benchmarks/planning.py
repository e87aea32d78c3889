"""How long a decision takes a parameter, and whether that stays so as models grow."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import nn

from autoinit import plan

from .rows import Row
from .schemes import VIT_CFG
from .stopwatch import medians

GOAL_US = 20.0
SIZES = (1_000, 10_000, 100_000, 1_000_000)


class Unfilled(nn.Linear):
    """A Linear whose construction is not what is measured: on the meta device its fills take most of the time."""

    def reset_parameters(self) -> None:
        """Leave the parameters as they are."""


def meta_model(parameters: int) -> nn.Sequential:
    """A model on the meta device with this many parameters, in pairs."""
    return nn.Sequential(*(Unfilled(4, 4, device="meta") for _ in range(parameters // 2)))


def rows(quick: bool = False) -> Iterator[Row]:
    sizes = (100, 1_000) if quick else SIZES
    whole = meta_model(sizes[-1])
    reference = None
    for size in sizes:
        part = nn.Sequential(*list(whole)[: size // 2])
        rounds = 3 if quick or size > 10_000 else 15
        run = partial(plan, part, VIT_CFG, unmatched="ignore")
        per_parameter = medians({"plan": run}, rounds, warm_up=size <= 10_000)["plan"] / size * 1e6
        reference = reference or per_parameter
        yield Row(
            **dict(bench="planning", case=f"{size:,} parameters on meta, each", reference=f"{sizes[0]:,} parameters"),
            **dict(ours=per_parameter, theirs=reference, unit="us", at_most=GOAL_US, goal_for_ours=True),
        )
