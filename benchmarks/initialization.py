"""A model that exists already, initialized by `initialize()` and by each rival; and one layer by itself."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from autoinit import initialize, normal_init

from .contenders import initialize_with_mmengine
from .rows import Row, beside
from .schemes import LINEARS, STD, VIT, Scheme
from .stopwatch import medians
from .subjects import linears, vit


def rows(quick: bool = False) -> Iterator[Row]:
    layers = 100 if quick else 10_000
    yield from compare("vit_b_16", vit("vit_b_16", quick), VIT, 3)
    yield from compare(f"{layers:,} x Linear(4, 4)", linears(layers), LINEARS, 3 if quick else 7)
    yield one_layer(100 if quick else 2000)


def one_layer(times: int) -> Row:
    """A small layer, initialized again and again by a function for one module."""
    layer = nn.Linear(8, 8)

    def ours() -> None:
        for _ in range(times):
            normal_init(layer, std=STD)

    def by_hand() -> None:
        for _ in range(times):
            nn.init.normal_(layer.weight, std=STD)
            nn.init.zeros_(layer.bias)

    measured = {name: 1e6 * taken / times for name, taken in medians({"a": ours, "b": by_hand}, 5).items()}
    return Row(
        **dict(bench="initialization", case="normal_init(Linear(8, 8))", reference="torch.nn.init by hand"),
        **dict(ours=measured["a"], theirs=measured["b"], unit="us", at_most=100, goal_for_ours=True),
    )


def compare(name: str, model: nn.Module, scheme: Scheme, rounds: int) -> Iterator[Row]:
    contenders = {
        "autoinit": lambda: initialize(model, scheme.cfg),
        "mmengine init_weights()": lambda: initialize_with_mmengine(model, scheme.cfg),
        "torch.nn.init by hand": lambda: scheme.by_hand(model),
    }
    yield from beside("initialization", name, medians(contenders, rounds))
