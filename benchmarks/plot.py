"""`python -m benchmarks.plot bench.json building.svg`: time against size, a line for each way to a model."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from .contenders import AUTOINIT, LIMIT

Lines = dict[str, list[tuple[int, float]]]


def main(source: Path, target: Path) -> None:
    draw(json.loads(source.read_text()), target)


def draw(result: dict[str, Any], target: Path) -> None:
    """A picture with both axes logarithmic, of the rows on most threads."""
    import matplotlib

    # Text stays text, and the same figures give the same file.
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "autoinit"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    for name, points in lines(result["rows"]).items():
        style = dict(linewidth=2.5, color="black") if name == AUTOINIT else dict(linewidth=1.2)
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name, **style)
        if name == LIMIT:
            axes.lines[-1].set(linestyle="--", color="grey")
    for size, name in names(result["rows"]).items():
        axes.annotate(name, (size, 0), xycoords=("data", "axes fraction"), rotation=90, ha="right", va="bottom")
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="seconds", title=result["machine"])
    axes.title.set_fontsize(9)
    axes.grid(which="both", alpha=0.2)
    axes.legend(fontsize=9)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Date": None})
    pyplot.close(figure)


def lines(rows: list[dict[str, Any]]) -> Lines:
    """For each way, the sizes of models and the seconds they took, in order of size."""
    points: dict[str, dict[int, float]] = defaultdict(dict)
    for row in drawn(rows):
        points[AUTOINIT][row["parameters"]] = row["ours"]
        points[row["reference"]][row["parameters"]] = row["theirs"]
    return {name: sorted(of_name.items()) for name, of_name in points.items()}


def names(rows: list[dict[str, Any]]) -> dict[int, str]:
    return {row["parameters"]: row["case"].rpartition(",")[0] for row in drawn(rows)}


def drawn(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    timed = [row for row in rows if row["parameters"] is not None]
    most = max((row["threads"] for row in timed), default=0)
    return [row for row in timed if row["threads"] == most]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
