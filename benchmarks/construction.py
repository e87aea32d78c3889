"""The cost of a block without matching rules, and of one whose rules cover everything, without the drawing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import torch
from torch import nn

from autoinit import autoinit
from autoinit.applying import execution
from tests.zoo.configs import EVERYTHING
from tests.zoo.exceptions import read_exceptions
from tests.zoo.findings import PLAIN as PLAIN_CHECK
from tests.zoo.operators import torchvision_operators
from tests.zoo.selection import LARGEST
from tests.zoo.sizes import read_sizes
from tests.zoo.subjects import LIBRARIES, Subject, library

from .contenders import PLAIN
from .rows import Row, beside
from .schemes import ABSENT_CFG
from .stopwatch import medians
from .subjects import linears, vit

SINGLE, SMALL, OPTIMIZED, ZOO, ZOO_UNDER_RULES = 1.15, 1.3, 1.1, 1.05, 0.25
"""The goals."""
ROUNDS = 3
UNDRAWN = "rules for everything, drawing left out"

Build = Callable[[], object]


def rows(quick: bool = False) -> Iterator[Row]:
    layers = 100 if quick else 10_000
    yield from compare("vit_b_16", lambda: vit("vit_b_16", quick), SINGLE, 3 if quick else 9)
    yield from compare(f"{layers:,} x Linear(4, 4)", lambda: linears(layers), SMALL, 3 if quick else 15)
    layers //= 10
    yield from compare(f"{layers:,} x Linear(64, 64), Adam", lambda: optimized(layers), OPTIMIZED, 3 if quick else 9)
    yield from of_the_zoo(2 if quick else 100)


def compare(name: str, build: Build, goal: float, rounds: int) -> Iterator[Row]:
    """One model, with no rules and with one that matches nothing."""
    blocks = {"no rules": within([], build), "no rule that matches": within(ABSENT_CFG, build)}
    yield from over_plain(name, medians({PLAIN: build, **blocks}, rounds), dict.fromkeys(blocks, goal))


def within(cfg: list[dict[str, Any]], build: Build, **options: Any) -> Build:
    def build_within() -> object:
        with autoinit(cfg, unmatched="ignore", **options):
            return build()

    return build_within


def optimized(layers: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model, and the optimizer that has made its first step with it."""
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(layers)))
    optimizer = torch.optim.Adam(model.parameters())
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    optimizer.step()
    return model, optimizer


def of_the_zoo(count: int) -> Iterator[Row]:
    """Models from all over three libraries on one thread, summed: with no rules, and with rules but for the drawing."""
    torchvision_operators()
    summed: Counter[str] = Counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for subject in spread(count):
            build = library(subject.library).builder(subject.name)
            covered = undrawn(within(EVERYTHING, build, own_init="skip"))
            blocks = {"no rules": within([], build), UNDRAWN: covered}
            summed.update(medians({PLAIN: build, **blocks}, ROUNDS))
    finally:
        torch.set_num_threads(threads)
    yield from over_plain(f"{count} models of the zoo", summed, {"no rules": ZOO, UNDRAWN: ZOO_UNDER_RULES})


def spread(count: int) -> list[Subject]:
    """As many models at even distances in the catalogues of all libraries, none with more than 100 M parameters."""
    sizes = read_sizes()
    unbuildable = [accepted for accepted in read_exceptions() if accepted.check == PLAIN_CHECK]
    small = [
        subject
        for name in LIBRARIES
        for subject in library(name).subjects()
        if sizes.get(subject.key, 0.0) <= LARGEST and not any(accepted.is_about(subject) for accepted in unbuildable)
    ]
    return [small[index * len(small) // count] for index in range(count)]


def undrawn(build: Build) -> Build:
    """The same without the filling of parameters: what is left is what interception and planning cost."""
    unfilled = mock.patch.object(execution, "fill", mock.Mock())
    return unfilled(build)


def over_plain(name: str, measured: Mapping[str, float], goals: Mapping[str, float]) -> Iterator[Row]:
    for block, goal in goals.items():
        pair = {block: measured[block], PLAIN: measured[PLAIN]}
        yield from beside("construction", f"{name}, {block}", pair, {PLAIN: goal})
