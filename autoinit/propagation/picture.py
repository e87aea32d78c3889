"""The picture of a signal: its size after every module, forward and backward."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StateError
from .bounds import Bounds, Range
from .signals import Signal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 40
"""More names than this do not fit under the picture."""
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "autoinit"}
"""Text stays text, and the same figures give the same file."""
FORWARD = {"vanishing", "exploding", "dead", "nonfinite"}


def draw(
    signals: Mapping[str, Signal],
    flagged: Mapping[str, Sequence[str]],
    bounds: Bounds,
    title: str,
    path: str | os.PathLike[str],
) -> None:
    """Write the picture to a file, whatever backend the program draws with.

    Raises:
        StateError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise StateError('A picture needs matplotlib: pip install "torch-autoinit[plot]".') from error
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(7.0, 2.0 + 0.25 * min(len(signals), NAMED)), 7.0), layout="constrained")
        forward, backward = figure.subplots(2, 1, sharex=True)
        kinds = [flagged.get(fqn, ()) for fqn in signals]
        rows = list(signals.values())
        _line(forward, [row.std for row in rows], "std of the output", "C0")
        _marks(forward, [row.std for row in rows], [[k for k in of if k in FORWARD] for of in kinds])
        _line(backward, [row.gradient for row in rows], "root mean square of the gradient at the output", "C1")
        _line(backward, [row.gradient_norm for row in rows], "norm of the parameters' gradient", "C2", "none")
        _marks(backward, [row.gradient for row in rows], [[k for k in of if k not in FORWARD] for of in kinds])
        _finish(forward, bounds.std, "forward")
        _finish(backward, bounds.gradient, "backward")
        _name(backward, [fqn or row.layer for fqn, row in signals.items()])
        figure.suptitle(title, fontsize=9)
        target = Path(path)
        figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)


def _line(axes: Axes, values: Sequence[float | None], label: str, color: str, line: str = "-") -> None:
    points = [(at, value) for at, value in enumerate(values) if value]
    if points:
        axes.plot(*zip(*points, strict=True), linestyle=line, marker="o", markersize=3, color=color, label=label)


def _marks(axes: Axes, values: Sequence[float | None], kinds: Sequence[Sequence[str]]) -> None:
    """A cross on what is flagged; at the lower edge where there is nothing that a logarithm can show."""
    style: dict[str, Any] = dict(marker="x", markersize=9, markeredgewidth=2, linestyle="", color="C3", zorder=3)
    shown = {True: "flagged", False: "flagged, and 0 or nothing"}
    for has_value, label in shown.items():
        at = [place for place, of in enumerate(kinds) if of and bool(values[place]) is has_value]
        if at and has_value:
            axes.plot(at, [values[place] or 0.0 for place in at], label=label, **style)
        elif at:
            axes.plot(
                at, [0.02] * len(at), transform=axes.get_xaxis_transform(), label=label, **{**style, "marker": "v"}
            )


def _finish(axes: Axes, allowed: Range, label: str) -> None:
    axes.set(yscale="log", ylabel=label)
    low, high = axes.get_ylim()
    for bound in allowed:
        # Lines far from everything would squeeze the picture.
        if low / 100 < bound < high * 100:
            axes.axhline(bound, linestyle="--", linewidth=1, color="grey")
    axes.grid(which="major", alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _name(axes: Axes, names: Sequence[str]) -> None:
    step = -(-len(names) // NAMED)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=90, fontsize=7)
