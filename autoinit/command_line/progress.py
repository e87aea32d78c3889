"""What a command is doing, on the terminal while it does it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Show the step that a function is called with, and its time; nothing where stderr is no terminal, or a dumb one.

    Example:
        >>> with steps() as step:
        ...     step("building")
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    console = Console(stderr=True)
    hidden = not (sys.stderr.isatty() and console.is_interactive)
    shown = Progress(*columns, console=console, transient=True, disable=hidden)
    with shown:
        task = shown.add_task("")
        yield lambda text: shown.update(task, description=text)
