"""A model built and initialized: in a block at once, and by each rival in two steps."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from autoinit import autoinit

from .rows import Row
from .stopwatch import medians
from .subjects import VIT_CFG, initialize_by_hand, initialize_with_mmengine, vit

GOALS = {"plain construction": 0.25, "construction, mmengine init_weights()": 0.15, "construction, torch.nn.init": 0.04}


def rows(quick: bool = False) -> Iterator[Row]:
    """`vit_l_16` in a block, over what it takes otherwise."""

    def build() -> nn.Module:
        return vit("vit_l_16", quick)

    def in_a_block() -> nn.Module:
        with autoinit(VIT_CFG):
            return build()

    def with_mmengine() -> nn.Module:
        model = build()
        initialize_with_mmengine(model, VIT_CFG)
        return model

    def by_hand() -> nn.Module:
        model = build()
        initialize_by_hand(model)
        return model

    rivals = dict(zip(GOALS, (build, with_mmengine, by_hand), strict=True))
    measured = medians({"autoinit": in_a_block, **rivals}, rounds=3, warm_up=quick)
    for rival, goal in GOALS.items():
        yield Row(
            bench="building",
            case="vit_l_16",
            ours=measured["autoinit"],
            reference=rival,
            theirs=measured[rival],
            at_most=goal,
        )
