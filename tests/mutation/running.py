"""Mutants run one after another, each in a fork of one process that has imported what takes long."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

import pytest

from .covering import OPTIONS
from .operators import Mutant

KILLED, SURVIVED, TIMED_OUT = "killed", "survived", "timed out"


def warm_up() -> None:
    """Import what tests import, but nothing of the package, which is imported anew for each mutant."""
    import hypothesis  # noqa: F401
    import numpy  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch.distributed.tensor
    import torch.nn.utils.parametrizations  # noqa: F401
    import yaml  # noqa: F401

    assert not any(name.partition(".")[0] == "autoinit" for name in sys.modules)


def install(mutant: Mutant, root: Path) -> None:
    """Give the file of a mutant its code when it is imported; the process has no other use afterwards."""
    file, get_code = str(root / mutant.path), SourceFileLoader.get_code
    with mutant.made() as module:
        code = compile(module, file, "exec", dont_inherit=True)

    def mutated(loader: SourceFileLoader, fullname: str) -> CodeType | None:
        return code if loader.path == file else get_code(loader, fullname)

    SourceFileLoader.get_code = mutated  # type: ignore[method-assign, assignment]


def run(mutant: Mutant | None, tests: Sequence[str], root: Path, limit: float) -> str:
    """Run tests, by their node ids, on a mutant or on the package as it is, for so many seconds at most."""
    child = os.fork()
    if not child:
        code = 70
        try:
            os.setsid()
            code = _in_child(mutant, tests, root)
        finally:
            os._exit(code)
    status = _waited(child, limit)
    if status is None:
        return TIMED_OUT
    return SURVIVED if os.waitstatus_to_exitcode(status) == 0 else KILLED


def _in_child(mutant: Mutant | None, tests: Sequence[str], root: Path) -> int:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    if mutant is not None:
        install(mutant, root)
    return int(pytest.main(["-x", *OPTIONS, *tests]))


def _waited(child: int, limit: float) -> int | None:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
