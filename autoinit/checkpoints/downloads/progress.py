"""A progress bar on standard error, if that is a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SWITCH = "AUTOINIT_PROGRESS"
"""Set to 0 in the environment, no bar is shown."""


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show how much there is of a file; gives a function that is told of that, and of the whole or None."""
    if os.environ.get(SWITCH) == "0" or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.fields[file]}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(file=sys.stderr)) as bar:
        task = bar.add_task("", total=None, file=name)
        yield lambda done, total: bar.update(task, completed=done, total=total)
