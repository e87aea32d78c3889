"""What a case came to: a name to count, or a finding."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from .limits import BrokenError, Hang, limited


class Target(Protocol):
    """Something to fuzz: it makes cases from numbers, and runs them."""

    name: str

    def case(self, seed: str) -> Any:
        """The case of a seed: always the same."""

    def run(self, case: Any) -> str:
        """What became of it, for counting; raises whatever should not be."""

    def smaller(self, case: Any) -> Iterator[Any]:
        """Cases with less in them, the least first."""

    def shown(self, case: Any) -> str:
        """It as Python, or as what one can save to a file."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What should not have happened.

    Args:
        kind: the same for the same fault: an exception's type and place, or a broken contract.
        text: with the traceback.
    """

    kind: str
    text: str


def outcome(target: Target, case: Any) -> str | Finding:
    """Run one case within its limits."""
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
