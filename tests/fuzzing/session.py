"""Cases one after another for a time, in one process: counted, and findings made small."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import environ
from pathlib import Path

from .findings import Finding, Target, outcome, shrunk
from .limits import offline

LONGEST = 5000
"""Letters of a case that are printed; its number makes all of it again."""


@dataclass(kw_only=True)
class Session:
    """What a run of one target came to.

    Args:
        counts: of cases, by what became of them.
        findings: by their kind, each with the number of its first case and a case that shows it.
        seconds: how long it took.
    """

    counts: Counter[str] = field(default_factory=Counter)
    findings: dict[str, tuple[int, str]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        """How many were run."""
        return sum(self.counts.values())

    def note(self, number: int, target: Target, case: object, result: str | Finding) -> None:
        """Count one case."""
        self.counts[result if isinstance(result, str) else "FINDING"] += 1
        if isinstance(result, Finding) and result.kind not in self.findings:
            small = shrunk(target, case, result)
            self.findings[result.kind] = number, f"{result.text}\ncase: {target.shown(small)[:LONGEST]}"


def fuzz(
    target: Target,
    *,
    seed: int,
    seconds: float = float("inf"),
    cases: float = float("inf"),
    first: int = 0,
    about_to: Callable[[int], object] = lambda number: None,
) -> Session:
    """Run cases until the time is up, or so many are run.

    Args:
        target: what to fuzz.
        seed: with a case's number it decides the case.
        seconds: after so many no case is begun.
        cases: how many at most.
        first: number of the first.
        about_to: is told each number before it is run, in case nothing is heard afterwards.
    """
    session, began = Session(), time.monotonic()
    with surroundings():
        for number in itertools.count(first):
            session.seconds = time.monotonic() - began
            if session.seconds >= seconds or number - first >= cases:
                return session
            about_to(number)
            case = target.case(f"{target.name}:{seed}:{number}")
            session.note(number, target, case, outcome(target, case))
    return session


@contextmanager
def surroundings() -> Iterator[None]:
    """No network, and no cache of downloads but an empty one."""
    before = environ.get("TORCH_HOME")
    with tempfile.TemporaryDirectory() as folder, offline():
        environ["TORCH_HOME"] = str(Path(folder, "torch"))
        try:
            yield
        finally:
            if before is None:
                del environ["TORCH_HOME"]
            else:
                environ["TORCH_HOME"] = before
