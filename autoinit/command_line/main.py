"""Run the command line: errors fit on one screen, and the exit status is for scripts."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from ..errors import AutoInitError, AutoInitWarning
from ..tables import printable, terminal_width, wrapped

DONE, FOUND, FAILED = 0, 1, 2
"""Exit statuses: done; done, and what was checked does not hold; not done."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its status.

    Args:
        arguments: Arguments without the name of the program; None takes `sys.argv`.

    Raises:
        SystemExit: Always; status 0 if all is well, 1 if a check found something, 2 if the command could not run.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # A name may have characters that the terminal's encoding has not.
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _shown_by(warnings.showwarning)
            status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `autoinit plan ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = DONE
    except Exception as error:  # Every error becomes text and an exit status, a bug of ours too.
        status = _status_of(error, arguments)
    raise SystemExit(status or DONE)


def _run(arguments: list[str]) -> int:
    try:
        import typer
    except ImportError:
        print("The command line needs typer: pip install 'torch-autoinit[cli]'", file=sys.stderr)
        return FAILED
    from .commands import app

    status: int = typer.main.get_command(app)(arguments, prog_name="autoinit", standalone_mode=False)
    return status


def _shown_by(show: Any) -> Any:
    """A `warnings.showwarning` that prints a warning of autoinit as one line, without a line of code."""

    def showwarning(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if issubclass(category, AutoInitWarning):
            _print(f"warning: {message}")
        else:
            show(message, category, *place)

    return showwarning


def _status_of(error: Exception, arguments: Sequence[str]) -> int:
    """Print the error, unless the exit was intended, and return the exit status."""
    import typer

    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, typer.Abort):
        _print("Aborted.")
        return FAILED
    if "--debug" in arguments:
        raise error
    if hasattr(error, "show"):  # of the parser: an option that does not exist, a value of a wrong type
        error.show()
    elif isinstance(error, (AutoInitError, OSError)):
        _print(f"error: {error}")
    else:
        _print(f"{type(error).__name__}: {error}\nThis is a bug of autoinit: --debug shows where.")
    return FAILED


def _print(text: str) -> None:
    """Print to stderr, without characters that a model's names may have to control a terminal."""
    lines = (wrapped(printable(line), terminal_width(sys.stderr)) for line in text.split("\n"))
    print("\n".join(lines), file=sys.stderr)
