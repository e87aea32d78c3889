"""Mutants that no test can notice, each with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from .operators import Mutant

LIST = Path(__file__).parent / "equivalent.txt"


@cache
def reasons() -> dict[str, str]:
    """By the name of the mutant, or of the line of code of which no mutant can be noticed.

    The list has a line for each, and below it, indented, the reason. Those of a line without one have that of the next.
    """
    found: dict[str, str] = {}
    for line in LIST.read_text().splitlines():
        if line.startswith("    "):
            for name in [name for name, reason in found.items() if not reason]:
                found[name] = line.strip()
        elif line and not line.startswith("#"):
            found[line] = ""
    return found


def stale(made: Iterable[Mutant], listed: Mapping[str, str]) -> list[str]:
    """Names that are listed and that no mutant has."""
    there = {name for mutant in made for name in (mutant.name, mutant.line_name)}
    return [name for name in listed if name not in there]
