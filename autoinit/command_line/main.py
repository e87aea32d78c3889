"""Run the command line: errors fit on one screen, and the exit status is for scripts."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..errors import AutoInitError

DONE, FOUND, FAILED = 0, 1, 2
"""Exit statuses: done; done, and what was checked does not hold; not done."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its status.

    Args:
        arguments: without the name of the program; None takes `sys.argv`.

    Raises:
        SystemExit: always; status 0 if all is well, 1 if a check found something, 2 if the command could not run.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        import typer
    except ImportError:
        print("The command line needs typer: pip install 'torch-autoinit[cli]'", file=sys.stderr)
        raise SystemExit(FAILED) from None
    from .commands import app

    try:
        status = typer.main.get_command(app)(arguments, prog_name="autoinit", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `autoinit plan ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = DONE
    except (AutoInitError, typer.Exit, typer.Abort, Exception) as error:
        status = _status_of(error, arguments)
    raise SystemExit(status or DONE)


def _status_of(error: BaseException, arguments: Sequence[str]) -> int:
    """Print what went wrong, unless it is an exit that was meant."""
    import typer

    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, typer.Abort):
        print("Aborted.", file=sys.stderr)
        return FAILED
    if "--debug" in arguments:
        raise error
    if hasattr(error, "show"):  # of the parser: an option that does not exist, a value of a wrong type
        error.show()
    elif isinstance(error, AutoInitError):
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    else:
        print(f"{type(error).__name__}: {error}\nThis is a bug of autoinit: --debug shows where.", file=sys.stderr)
    return FAILED
