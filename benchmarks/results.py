"""Views of the files that `python -m benchmarks --json` writes.

    python -m benchmarks.results plot bench.json building.svg    time against size, a line for each way to a model
    python -m benchmarks.results overview bench.json busy.json   the building of models as two Markdown tables
    python -m benchmarks.results compare one.json other.json     how far the ratios of two runs are apart

Seconds of two machines cannot be compared; ratios of the same run can. What they differ by where nothing was changed is
the noise.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .contenders import AUTOINIT, BY_HAND, LIMIT, PLAIN, WAYS

RATIO_LIMIT = 1.25
"""Ratios that differ by more are listed."""

Rows = list[dict[str, Any]]
Lines = dict[str, list[tuple[int, float]]]
Cases = dict[str, dict[str, dict[str, Any]]]


def read(path: Path) -> Rows:
    return json.loads(path.read_text())["rows"]  # type: ignore[no-any-return]


def of_models(rows: Rows) -> Rows:
    """The rows of models that were built."""
    return [row for row in rows if row["parameters"] is not None]


def on_most_threads(rows: Rows) -> Rows:
    most = max((row["threads"] for row in rows), default=0)
    return [row for row in rows if row["threads"] == most]


def model_of(row: dict[str, Any]) -> str:
    return str(row["case"].rpartition(",")[0])


def plot(source: Path, target: Path) -> None:
    """Draw a picture with both axes logarithmic, of the rows on most threads."""
    import matplotlib

    # Text stays text, and the same figures give the same file.
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "autoinit"})
    from matplotlib import pyplot

    rows = on_most_threads(of_models(read(source)))
    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    for name, points in lines(rows).items():
        style = dict(linewidth=2.5, color="black") if name == AUTOINIT else dict(linewidth=1.2)
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name, **style)
        if name == LIMIT:
            axes.lines[-1].set(linestyle="--", color="grey")
    for size, name in {row["parameters"]: model_of(row) for row in rows}.items():
        axes.annotate(name, (size, 0), xycoords=("data", "axes fraction"), rotation=90, ha="right", va="bottom")
    machine = json.loads(source.read_text())["machine"]
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="seconds", title=machine)
    axes.title.set_fontsize(9)
    axes.grid(which="both", alpha=0.2)
    axes.legend(fontsize=9)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Date": None})
    pyplot.close(figure)


def lines(rows: Rows) -> Lines:
    """For each way, the sizes of models and the seconds they took, in order of size."""
    points: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        points[AUTOINIT][row["parameters"]] = row["ours"]
        points[row["reference"]][row["parameters"]] = row["theirs"]
    return {name: sorted(of_name.items()) for name, of_name in points.items()}


def overview(quiet: Path, busy: Path) -> None:
    """Print autoinit beside two ways, on a quiet machine and on a busy one; then all ways, on the quiet one."""
    of_quiet, of_busy = (of_models(read(path)) for path in (quiet, busy))
    print("\n".join((*shortly(of_quiet, by_case(of_busy)), "", *of_all_ways(by_case(of_quiet)))))


def by_case(rows: Rows) -> Cases:
    """Rows by case and by reference."""
    found: Cases = {}
    for row in rows:
        found.setdefault(row["case"], {})[row["reference"]] = row
    return found


def shortly(quiet: Rows, busy: Cases) -> Iterator[str]:
    """A line for each model on most threads: seconds, and ours over plain construction and over a loop by hand."""
    beside = ["over plain", "over `torch.nn.init`"]
    yield _line(["model", AUTOINIT, PLAIN, *beside, *(f"busy: {each}" for each in beside)])
    yield _line(["---"] + ["---:"] * 6)
    for case, of_case in by_case(on_most_threads(quiet)).items():
        any_row = next(iter(of_case.values()))
        rows = [found.get(way) for found in (of_case, busy.get(case, {})) for way in (PLAIN, BY_HAND)]
        ratios = [f"{row['ratio']:.2f}" if row else "" for row in rows]
        theirs = f"{of_case[PLAIN]['theirs']:.3g} s" if PLAIN in of_case else ""
        yield _line([model_of(any_row), f"{any_row['ours']:.3g} s", theirs, *ratios])


def of_all_ways(found: Cases) -> Iterator[str]:
    """A line for each model and number of threads: seconds of each way, and ours over each, in brackets."""
    ways = [way for way in WAYS if way != AUTOINIT and any(way in of_case for of_case in found.values())]
    yield _line(["model", AUTOINIT, *ways])
    yield _line(["---"] + ["---:"] * (len(ways) + 1))
    for case, of_case in found.items():
        ours = next(iter(of_case.values()))["ours"]
        rows = [of_case.get(way) for way in ways]
        theirs = [f"{row['theirs']:.3g} ({row['ratio']:.2f})" if row else "" for row in rows]
        yield _line([case, f"**{ours:.3g}**", *theirs])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def compare(one: Path, other: Path) -> None:
    """Print each ratio that moved by more than the limit, the farthest first; then how many did not."""
    before, after = (
        {(row["bench"], row["case"], row["reference"]): row["ratio"] for row in read(path)} for path in (one, other)
    )
    factors = {key: after[key] / before[key] for key in before if key in after}
    if not factors:
        print("The two have no row in common.")
        return
    distances = {key: max(factor, 1 / factor) for key, factor in factors.items()}
    for key in sorted(factors, key=lambda key: -distances[key]):
        if distances[key] > RATIO_LIMIT:
            print(f"{before[key]:8.3f} -> {after[key]:8.3f}  {', '.join(key)}")
    near = sum(distance <= RATIO_LIMIT for distance in distances.values())
    print(
        f"{near} of {len(factors)} ratios within a factor of {RATIO_LIMIT}; the median moved by a factor of "
        f"{statistics.median(factors.values()):.3f}, the farthest by {max(distances.values()):.2f}."
    )
    if alone := len(before.keys() ^ after.keys()):
        print(f"{alone} rows are in one of the two only.")


if __name__ == "__main__":
    {"plot": plot, "overview": overview, "compare": compare}[sys.argv[1]](*map(Path, sys.argv[2:]))
