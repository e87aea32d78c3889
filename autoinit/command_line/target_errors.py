"""Errors of the command line, and those that a target's code raises."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable
from traceback import extract_tb
from typing import Any

import torch

from ..errors import AutoInitError

OTHER_CODE = (
    os.path.dirname(__file__),
    "<frozen importlib",
    *(os.path.dirname(inspect.getfile(each)) for each in (importlib, torch)),
)
"""Files of code that calls the target or is called by it."""


class CommandError(AutoInitError, ValueError):
    """A command cannot be carried out; a cause, if any, is an exception of the target's code."""


def run_target(what: str, code: Callable[[], Any]) -> Any:
    """Run code of a target; its errors and exits become one error with a cause."""
    try:
        return code()
    except SystemExit as error:
        raise CommandError(f"{what}: it exits with status {error.code}. Name a function that only builds.") from error
    except AutoInitError:
        raise
    except Exception as error:  # Code of the user's raises what it likes.
        message = str(error).strip().partition("\n")[0]
        text = f"{type(error).__name__}{': ' if message else ''}{message}"
        raise CommandError(f"{what}: {text}{_place(error)}") from error


def _place(error: Exception) -> str:
    """The line of the target's code that raised."""
    frames = [each for each in extract_tb(error.__traceback__) if not each.filename.startswith(OTHER_CODE)]
    return f"\n  at {frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else ""
