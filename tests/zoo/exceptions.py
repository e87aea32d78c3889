"""The accepted exceptions: problems that are known, each with its reason, in `exceptions.toml`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .findings import CHECKS, Findings, Problem
from .records import Found
from .subjects import LIBRARIES, Subject

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_name("exceptions.toml")


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """One entry of the file.

    Args:
        model: glob over `library/name`, whose library is spelled out.
        check: glob over `CHECKS`.
        problem: glob over the problem's text.
        reason: why it is no error of ours.
    """

    model: str
    check: str
    problem: str
    reason: str

    def __post_init__(self) -> None:
        if self.library not in LIBRARIES:
            raise ValueError(f"exceptions.toml: model={self.model!r} begins with none of {', '.join(LIBRARIES)}.")
        if not any(fnmatchcase(check, self.check) for check in CHECKS):
            raise ValueError(f"exceptions.toml: check={self.check!r} is none of {', '.join(CHECKS)}.")
        if not self.reason.strip():
            raise ValueError(f"exceptions.toml: the exception for {self.model!r} has no reason.")

    @property
    def library(self) -> str:
        return self.model.partition("/")[0]

    def is_about(self, subject: Subject) -> bool:
        return fnmatchcase(subject.key, self.model)

    def covers(self, subject: Subject, problem: Problem) -> bool:
        of_problem = fnmatchcase(problem.check, self.check) and fnmatchcase(problem.text, self.problem)
        return of_problem and self.is_about(subject)


def read_exceptions(path: Path = FILE) -> tuple[Accepted, ...]:
    """The entries of a file; a ValueError or TypeError for one that is wrong."""
    return tuple(Accepted(**entry) for entry in tomllib.loads(path.read_text()).get("exception", []))


def unaccepted(subject: Subject, findings: Findings, exceptions: Iterable[Accepted]) -> list[Problem]:
    exceptions = tuple(exceptions)
    return [each for each in findings.problems if not any(accepted.covers(subject, each) for accepted in exceptions)]


def stale(exceptions: Iterable[Accepted], found: Found, everything: Iterable[Subject]) -> list[Accepted]:
    """The exceptions that no longer occur.

    Args:
        exceptions: the file's.
        found: in this sweep.
        everything: all subjects of some libraries: an exception is only judged if all that it is about were examined.
    """
    subjects = set(everything)
    libraries = {subject.library for subject in subjects}
    return [
        accepted
        for accepted in exceptions
        if accepted.library in libraries
        and all(subject in found for subject in subjects if accepted.is_about(subject))
        and not any(accepted.covers(subject, each) for subject in found for each in found[subject].problems)
    ]
