"""Plot the size of the signal after every module, forward and backward."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..figures import NAMED, new_figure
from .signals import Bounds, Range, Signal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORWARD = {"vanishing", "exploding", "dead", "nonfinite"}


def draw(
    signals: Mapping[str, Signal],
    flagged: Mapping[str, Sequence[str]],
    bounds: Bounds,
    title: str,
    path: str | os.PathLike[str],
) -> None:
    """Write the plot to a file, without changing the backend of the program."""
    rows = list(signals.values())
    kinds = [set(flagged.get(fqn, ())) for fqn in signals]
    with new_figure(path, len(rows), 7.0) as figure:
        forward, backward = figure.subplots(2, 1, sharex=True)
        _line(forward, [row.std for row in rows], [each & FORWARD for each in kinds], "std of the output", color="C0")
        norms, gradients = [row.gradient_norm for row in rows], [row.gradient for row in rows]
        _line(backward, norms, [], "norm of the parameters' gradient", color="C2", linestyle="none")
        label = "root mean square of the gradient at the output"
        _line(backward, gradients, [each - FORWARD for each in kinds], label, color="C1")
        _finish(forward, bounds.std, "forward")
        _finish(backward, bounds.gradient, "backward")
        step = -(-len(rows) // NAMED)
        names = [fqn or row.layer for fqn, row in signals.items()]
        backward.set_xticks(range(0, len(names), step), names[::step], rotation=90, fontsize=7)
        figure.suptitle(title, fontsize=9)


def _line(axes: Axes, values: Sequence[float | None], flagged: Sequence[set[str]], label: str, **style: Any) -> None:
    """A line, with a cross on flagged values; those that a logarithm cannot show are marked at the lower edge."""
    points = [(at, value) for at, value in enumerate(values) if value]
    if points:
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label, **style)
    cross: dict[str, Any] = dict(markersize=9, markeredgewidth=2, linestyle="", color="C3", zorder=3)
    if shown := [(at, value) for at, value in points if flagged and flagged[at]]:
        axes.plot(*zip(*shown, strict=True), marker="x", label="flagged", **cross)
    if edge := [at for at, kinds in enumerate(flagged) if kinds and not values[at]]:
        cross.update(marker="v", label="flagged, and 0 or nothing", transform=axes.get_xaxis_transform())
        axes.plot(edge, [0.02] * len(edge), **cross)


def _finish(axes: Axes, allowed: Range, label: str) -> None:
    axes.set(yscale="log", ylabel=label)
    low, high = axes.get_ylim()
    for bound in allowed:
        if low / 100 < bound < high * 100:  # Farther lines would squeeze the plot.
            axes.axhline(bound, linestyle="--", linewidth=1, color="grey")
    axes.grid(which="major", alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
