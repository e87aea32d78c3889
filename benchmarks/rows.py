"""One line of the result: our figure, the reference's, and whether the goal is reached; and the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from autoinit.tables import Table

COLUMNS = ("benchmark", "case", "autoinit", "theirs", "reference", "ratio", "goal", "reached")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A measurement beside its reference, smaller being better in both.

    Args:
        bench: the file that measured it.
        case: what was measured.
        ours: the figure of autoinit, in `unit`.
        reference: what it is compared to.
        theirs: the figure of that.
        note: what else has to be said of the reference.
        unit: "s", "us" or "MiB".
        at_most: the goal, if there is one; for the ratio of ours to theirs, unless `goal_for_ours`.
        goal_for_ours: the goal is for our figure itself.
        parameters: how many values the model has, if that is what the case is about.
        threads: how many of torch's threads ran, if not all.
    """

    bench: str
    case: str
    ours: float
    reference: str
    theirs: float
    note: str = ""
    unit: str = "s"
    at_most: float | None = None
    goal_for_ours: bool = False
    parameters: int | None = None
    threads: int | None = None

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs

    @property
    def reached(self) -> bool | None:
        """True if the goal is reached; None if there is none."""
        if self.at_most is None:
            return None
        return (self.ours if self.goal_for_ours else self.ratio) <= self.at_most

    def to_dict(self) -> dict[str, object]:
        return {**asdict(self), "ratio": self.ratio, "reached": self.reached}

    def cells(self) -> tuple[str, ...]:
        """One string for each of `COLUMNS`."""
        unit = f" {self.unit}" if self.goal_for_ours else ""
        goal = "" if self.at_most is None else f"<= {self.at_most:.3g}{unit}"
        reached = {True: "yes", False: "NO", None: ""}[self.reached]
        ours, theirs = (f"{value:.4g} {self.unit}" for value in (self.ours, self.theirs))
        reference = f"{self.reference} ({self.note})" if self.note else self.reference
        return self.bench, self.case, ours, theirs, reference, f"{self.ratio:.3f}", goal, reached


def beside(bench: str, case: str, measured: Mapping[str, float], goals: Mapping[str, float] = {}) -> Iterator[Row]:
    """The first of what was measured beside each of the others; a goal is for the ratio to the rival of its name."""
    ours = next(iter(measured.values()))
    for rival in list(measured)[1:]:
        theirs, at_most = measured[rival], goals.get(rival)
        yield Row(bench=bench, case=case, ours=ours, reference=rival, theirs=theirs, at_most=at_most)


def tabulate(rows: Iterable[Row], machine: str) -> Table:
    return Table(title=f"Medians on {machine}", columns=COLUMNS, rows=[row.cells() for row in rows])


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def describe_machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = torch.get_num_threads()
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{cpu_model()}, {cores} cores, {threads} threads, {versions}"
