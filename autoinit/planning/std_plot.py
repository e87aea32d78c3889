"""Plot the std that each parameter of a model gets, in model order."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..figures import NAMED, new_figure
from .cells import NO_RULE
from .entries import Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(entries: Sequence[Entry], title: str, path: str | os.PathLike[str] | None) -> Figure:
    """A figure with a point for each random parameter, colored by its rule, and marks for uncovered parameters.

    Raises:
        StateError: matplotlib is not installed.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for at, entry in enumerate(entries):
        if (std := std_of(entry)) is not None:
            points.setdefault(f"{entry.origin}: {entry.rule.initializer}" if entry.rule else "", []).append((at, std))
    with new_figure(path, len(entries), 5.0) as figure:
        axes = figure.subplots()
        for label, found in points.items():
            axes.plot(*zip(*found, strict=True), marker="o", markersize=3, linestyle="none", label=label)
        if uncovered := [at for at, entry in enumerate(entries) if entry.is_uncovered]:
            # At the lower edge, whatever the scale is.
            style: dict[str, Any] = dict(transform=axes.get_xaxis_transform(), marker="|", linestyle="none")
            axes.plot(uncovered, [0.02] * len(uncovered), label=NO_RULE, color="grey", **style)
        axes.set(ylabel="std that was asked for", yscale="log" if points else "linear")
        step = -(-len(entries) // NAMED) or 1
        ticks = range(0, len(entries), step)
        axes.set_xticks(ticks, [entries[at].fqn for at in ticks], rotation=90, fontsize=7)
        axes.grid(which="major", alpha=0.25)
        if points or uncovered:
            axes.legend(fontsize=8)
        figure.suptitle(title, fontsize=9)
    return figure


def std_of(entry: Entry) -> float | None:
    """The std of a parameter's random values, if its fill knows it."""
    std = getattr(entry.fill, "std", None)
    return float(std) if isinstance(std, (int, float)) and std > 0 and math.isfinite(std) else None
