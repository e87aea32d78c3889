"""On a GPU: what drawing costs there, and a large model that is built there. No rows without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import torch

from autoinit import autoinit

from .contenders import PLAIN
from .rows import Row, beside
from .sampling import FAMILIES, STD, Holder, by_operators, drawing
from .stopwatch import medians
from .subjects import SUBJECTS

Run = Callable[[], object]

OF_FILL = 1 / 0.55
"""The goal of design.md: 0.55 of the values that `fill_` writes in the same time."""


def rows(quick: bool = False) -> Iterator[Row]:
    """One tensor over `fill_` and torch's own; a model in a block over plain construction."""
    if not torch.cuda.is_available():
        return
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
        yield from compare(f"{family}, 2^{exponent} values", contenders, rounds, {"fill_": OF_FILL})
    subject = SUBJECTS["Llama 3.2 1B"]
    build = partial(subject.model, quick)
    block = partial(autoinit, subject.scheme.cfg, own_init="skip", unmatched="ignore")
    contenders = {"ours": within(build, block), PLAIN: within(build, nullcontext)}
    yield from compare(subject.name, contenders, rounds, {PLAIN: 1.0})


def compare(case: str, contenders: dict[str, Run], rounds: int, goals: dict[str, float]) -> Iterator[Row]:
    measured = medians({name: finished(run) for name, run in contenders.items()}, rounds)
    for row in beside("cuda", case, measured, goals):
        yield replace(row, note=torch.cuda.get_device_name())


def finished(run: Run) -> Run:
    def run_and_wait() -> object:
        result = run()
        torch.cuda.synchronize()
        return result

    return run_and_wait


def within(build: Run, block: Callable[[], AbstractContextManager[object]]) -> Run:
    def build_there() -> object:
        with torch.device("cuda"), block():
            return build()

    return build_there
