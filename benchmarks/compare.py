"""`python -m benchmarks.compare one.json other.json`: how far the ratios of two runs are apart.

Seconds of two machines cannot be compared; ratios of the same run can. What they differ by where nothing was changed is
the noise.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LIMIT = 1.25
"""Rows that differ by more are listed."""

Rows = dict[tuple[str, str, str], float]


def main(one: Path, other: Path) -> None:
    print("\n".join(compared(*(ratios(json.loads(path.read_text())["rows"]) for path in (one, other)))))


def ratios(rows: list[dict[str, Any]]) -> Rows:
    return {(row["bench"], row["case"], row["reference"]): row["ratio"] for row in rows}


def compared(one: Rows, other: Rows) -> Iterator[str]:
    """A line for each ratio that moved by more than the limit, the farthest first; then how many did not."""
    factors = {key: other[key] / one[key] for key in one if key in other}
    if not factors:
        yield "The two have no row in common."
        return
    by_distance = sorted(factors, key=lambda key: -distance(factors[key]))
    for key in by_distance:
        if distance(factors[key]) > LIMIT:
            yield f"{one[key]:8.3f} -> {other[key]:8.3f}  {', '.join(key)}"
    near = sum(distance(factor) <= LIMIT for factor in factors.values())
    yield (
        f"{near} of {len(factors)} ratios within a factor of {LIMIT}; the median moved by a factor of "
        f"{statistics.median(factors.values()):.3f}, the farthest by {distance(factors[by_distance[0]]):.2f}."
    )
    alone = len(one.keys() ^ other.keys())
    if alone:
        yield f"{alone} rows are in one of the two only."


def distance(factor: float) -> float:
    """A factor, or its inverse if that is larger."""
    return max(factor, 1 / factor)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
