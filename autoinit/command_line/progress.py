"""What a command is doing, on the terminal while it does it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def steps(total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar with the current step, which a function is called with; nothing if stderr is not a terminal.

    Args:
        total: Number of steps, for the length of the bar.

    Example:
        >>> with steps(2) as step:
        ...     step("building")
        ...     step("planning")
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.description}", markup=False)
    columns = (BarColumn(bar_width=20), MofNCompleteColumn(), text, TimeElapsedColumn())
    console = Console(stderr=True)
    hidden = not (sys.stderr.isatty() and console.is_interactive)
    shown = Progress(*columns, console=console, transient=True, disable=hidden)
    with shown:
        task = shown.add_task("", total=total)
        yield lambda text: shown.update(task, description=text, advance=1, refresh=True)
