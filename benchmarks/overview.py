"""`python -m benchmarks.overview bench.json`: the building of models as one Markdown table, a column for each way."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .contenders import AUTOINIT, LIMIT, WAYS


def main(source: Path) -> None:
    """Print what `python -m benchmarks --json` has written."""
    print("\n".join(overview(json.loads(source.read_text())["rows"])))


def overview(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each model and number of threads: seconds of each way, and ours over each, in brackets."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row["parameters"] is not None:
            found.setdefault(row["case"], {})[row["reference"]] = row
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
    main(Path(sys.argv[1]))
