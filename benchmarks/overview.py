"""`python -m benchmarks.overview bench.json busy.json`: the building of models as two Markdown tables.

The first has autoinit beside two ways, on a quiet machine and on a busy one; the second all ways, on the quiet one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .contenders import AUTOINIT, BY_HAND, LIMIT, PLAIN, WAYS

Cases = dict[str, dict[str, dict[str, Any]]]


def main(quiet: Path, busy: Path) -> None:
    of_quiet, of_busy = (cases(json.loads(path.read_text())["rows"]) for path in (quiet, busy))
    print("\n".join((*shortly(of_quiet, of_busy), "", *overview(of_quiet))))


def cases(rows: list[dict[str, Any]]) -> Cases:
    """The rows of models that were built, by case and by reference."""
    found: Cases = {}
    for row in rows:
        if row["parameters"] is not None:
            found.setdefault(row["case"], {})[row["reference"]] = row
    return found


def shortly(quiet: Cases, busy: Cases) -> Iterator[str]:
    """A line for each model on most threads: seconds, and ours over plain construction and over a loop by hand."""
    beside = ["over plain", "over `torch.nn.init`"]
    yield _line(["model", AUTOINIT, PLAIN, *beside, *(f"busy: {each}" for each in beside)])
    yield _line(["---"] + ["---:"] * 6)
    most = max(row["threads"] or 0 for of_case in quiet.values() for row in of_case.values())
    for case, of_case in quiet.items():
        if any(row["threads"] == most for row in of_case.values()):
            plain, seconds = of_case.get(PLAIN), next(iter(of_case.values()))["ours"]
            beside = [found.get(way) for found in (of_case, busy.get(case, {})) for way in (PLAIN, BY_HAND)]
            ratios = [f"{row['ratio']:.2f}" if row else "" for row in beside]
            theirs = f"{plain['theirs']:.3g} s" if plain else ""
            yield _line([case.rpartition(",")[0], f"{seconds:.3g} s", theirs, *ratios])


def overview(found: Cases) -> Iterator[str]:
    """A line for each model and number of threads: seconds of each way, and ours over each, in brackets."""
    ways = [way for way in (*WAYS, LIMIT) if any(way in of_case for of_case in found.values())]
    ways = list(dict.fromkeys(way for way in ways if way != AUTOINIT))
    yield _line(["model", AUTOINIT, *ways])
    yield _line(["---"] + ["---:"] * (len(ways) + 1))
    for case, of_case in found.items():
        ours = next(iter(of_case.values()))["ours"]
        theirs = [_cell(of_case[way]) if way in of_case else "" for way in ways]
        yield _line([case, f"**{ours:.3g}**", *theirs])


def _cell(row: dict[str, Any]) -> str:
    return f"{row['theirs']:.3g} ({row['ratio']:.2f})"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
