"""On a GPU: what drawing costs there, and a large model that is built there. No rows without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from autoinit import autoinit

from .rows import Row
from .sampling import FAMILIES, STD, Holder, by_operators, drawing
from .stopwatch import medians
from .subjects import SUBJECTS

OF_FILL = 1 / 0.55
"""The goal of design.md: 0.55 of the values that `fill_` writes in the same time."""


def rows(quick: bool = False) -> Iterator[Row]:
    """One tensor over `fill_` and torch's own; a model in a block over plain construction."""
    if not torch.cuda.is_available():
        return
    name = torch.cuda.get_device_name()
    exponent, rounds = (12, 3) if quick else (30, 9)
    holder = Holder(1 << exponent).cuda()
    for family, (cfg, rival, _) in FAMILIES.items():
        ours = drawing(holder, cfg)
        contenders = {
            "ours": ours,
            "fill_": lambda: holder.weight.data.fill_(STD),
            "torch.nn.init": lambda rival=rival: rival(holder.weight),
            "autoinit by torch's operators": by_operators(ours),
        }
        measured = medians({key: finished(run) for key, run in contenders.items()}, rounds)
        for reference in list(contenders)[1:]:
            goal = OF_FILL if reference == "fill_" else None
            yield row(f"{family}, 2^{exponent} values", measured, reference, name, goal)
    subject = SUBJECTS["Llama 3.2 1B"]
    build = partial(subject.model, quick)
    contenders = {"ours": in_a_block(build, subject.scheme.cfg), "plain construction": on_cuda(build)}
    measured = medians({key: finished(run) for key, run in contenders.items()}, rounds)
    yield row(subject.name, measured, "plain construction", name, 1.0)


def row(case: str, measured: dict[str, float], reference: str, device: str, goal: float | None) -> Row:
    """One reference beside ours."""
    ours, theirs = measured["ours"], measured[reference]
    return Row(bench="cuda", case=case, ours=ours, reference=reference, theirs=theirs, note=device, at_most=goal)


def finished(run: Callable[[], object]) -> Callable[[], object]:
    """The same until the GPU has done it."""

    def run_and_wait() -> object:
        result = run()
        torch.cuda.synchronize()
        return result

    return run_and_wait


def on_cuda(build: Callable[[], object]) -> Callable[[], object]:
    """A construction on the GPU."""

    def build_there() -> object:
        with torch.device("cuda"):
            return build()

    return build_there


def in_a_block(build: Callable[[], object], cfg: list[dict[str, Any]]) -> Callable[[], object]:
    """The same in a block."""

    def build_within() -> object:
        with torch.device("cuda"), autoinit(cfg, own_init="skip", unmatched="ignore"):
            return build()

    return build_within
