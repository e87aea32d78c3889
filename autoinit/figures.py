"""Figures of matplotlib, which is an extra."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StateError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = {"svg.fonttype": "none", "svg.hashsalt": "autoinit"}  # Text stays text; equal figures give equal files.
NAMED = 40
"""Names that fit under a figure."""


@contextmanager
def new_figure(path: str | os.PathLike[str] | None, names: int, height: float) -> Iterator[Figure]:
    """A figure that is written to a file at the end; the backend of the program stays as it is.

    Args:
        path: File to write; None for no file.
        names: Number of names along the horizontal axis, on which the width depends.
        height: Height in inches.

    Raises:
        StateError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise StateError('A picture needs matplotlib: pip install "torch-autoinit[plot]".') from error
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(7.0, 2.0 + 0.25 * min(names, NAMED)), height), layout="constrained")
        yield figure
        if path is not None:
            figure.savefig(path, metadata={"Date": None} if Path(path).suffix == ".svg" else None)
