"""Cases one after another for a time, in one process: each is counted, or is a finding, which is made small."""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

from .limits import BrokenError, Hang, limited, offline

FOUND = 3
"""How a process says that it has come to its end and found something; 1 is what ends it before."""
LONGEST = 5000
"""Letters of a case that are printed; its number makes all of it again."""


class Target(Protocol):
    """Something to fuzz: it makes cases from numbers, and runs them."""

    name: str

    def case(self, seed: str) -> Any:
        """The case of a seed: always the same."""

    def run(self, case: Any) -> str:
        """Run a case and return its outcome, for counting; raise anything that should not happen."""

    def smaller(self, case: Any) -> Iterator[Any]:
        """Cases with less in them, the least first."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An outcome that should not happen."""

    kind: str
    """The same for the same fault: an exception's type and place, or a broken contract."""
    text: str


def outcome(target: Target, case: Any) -> str | Finding:
    try:
        with limited():
            return target.run(case)
    except Hang as error:
        return Finding(kind=f"hang in {_place(error)}", text=traceback.format_exc(limit=-12))
    except BrokenError as error:
        return Finding(kind=str(error).partition(":")[0][:100], text=traceback.format_exc(limit=-3))
    except Exception as error:
        return Finding(kind=f"{type(error).__name__} in {_place(error)}", text=traceback.format_exc())


def _place(error: BaseException) -> str:
    """The innermost function of the package that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if frame.name != "_on_alarm"]
    own = [frame for frame in frames if "/autoinit/" in frame.filename] or frames[-1:]
    return f"{own[-1].filename.rpartition('/autoinit/')[2]}:{own[-1].name}"


def shrunk(target: Target, case: Any, found: Finding, attempts: int = 400) -> Any:
    """The smallest case found with the same fault; one that hangs is left as it is, because each try costs too much."""
    if found.kind.startswith("hang"):
        return case
    tried = 0
    while True:
        for candidate in target.smaller(case):
            tried += 1
            if tried > attempts:
                return case
            result = outcome(target, candidate)
            if isinstance(result, Finding) and result.kind == found.kind:
                case = candidate
                break
        else:
            return case


@dataclass(kw_only=True)
class Session:
    """The result of a run: cases by their outcome, and each finding by its kind, with a number and a case."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: dict[str, tuple[int, str]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        return sum(self.counts.values())

    def note(self, number: int, target: Target, case: object, result: str | Finding) -> None:
        self.counts[result if isinstance(result, str) else "FINDING"] += 1
        if isinstance(result, Finding) and result.kind not in self.findings:
            small = shrunk(target, case, result)
            self.findings[result.kind] = number, f"{result.text}\ncase: {repr(small)[:LONGEST]}"


def fuzz(
    target: Target,
    *,
    seed: int,
    seconds: float = float("inf"),
    cases: float = float("inf"),
    first: int = 0,
    about_to: Callable[[int], object] = lambda number: None,
) -> Session:
    """Run cases until the time is up, or so many are run; seed and number decide a case.

    `about_to` is told each number before its case is run, in case nothing is heard afterwards.
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


def table(name: str, session: Session, seed: int) -> str:
    speed = session.cases / max(session.seconds, 1e-9)
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in session.counts.most_common())
    lines = [f"{name}: {session.cases:,} cases in {session.seconds:.0f} s, {speed:.0f} a second: {counts}"]
    for kind, (number, text) in session.findings.items():
        again = f"python -m tests.fuzzing {name} --seed {seed} --case {number}"
        lines += [f"\nFOUND {kind}\n{text[-12_000:]}\nagain: {again}"]
    return "\n".join(lines)


def fuzz_and_print(make: Callable[[], Target], seed: int, seconds: float, first: int, reached: Any) -> None:
    """Fuzz in this process, which may not survive it."""

    def about_to(number: int) -> None:
        reached.value = number

    target = make()
    session = fuzz(target, seed=seed, seconds=seconds, first=first, about_to=about_to)
    print(table(target.name, session, seed), flush=True)
    sys.exit(FOUND if session.findings else 0)


@contextmanager
def surroundings() -> Iterator[None]:
    """No network, and no cache of downloads but an empty one."""
    with tempfile.TemporaryDirectory() as folder, offline():
        with mock.patch.dict(environ, TORCH_HOME=str(Path(folder, "torch"))):
            yield
