"""Mutants that no test can notice, each with the reason."""

from __future__ import annotations

from functools import cache
from pathlib import Path

LIST = Path(__file__).parent / "equivalent.txt"


@cache
def reasons() -> dict[str, str]:
    """By the name of the mutant.

    The list has a line for each mutant, and below it, indented, the reason.
    """
    found: dict[str, str] = {}
    for line in LIST.read_text().splitlines():
        if line.startswith("    "):
            name = next(reversed(found))
            found[name] = f"{found[name]} {line.strip()}".strip()
        elif line and not line.startswith("#"):
            found[line] = ""
    return found
