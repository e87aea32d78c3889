"""Mutants run one after another, each in a fork of one process that has imported what takes long."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

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


class Loader(importlib.abc.InspectLoader):
    """Gives a module the code of a mutant."""

    def __init__(self, code: CodeType) -> None:
        self._code = code

    def get_source(self, fullname: str) -> None:
        return None

    def get_code(self, fullname: str) -> CodeType:
        return self._code


class Finder(importlib.abc.MetaPathFinder):
    """Finds one module before anybody else does."""

    def __init__(self, mutant: Mutant, root: Path) -> None:
        self._file = str(root / mutant.path)
        self._name = mutant.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        with mutant.made() as module:
            self._code = compile(module, self._file, "exec", dont_inherit=True)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        is_package = self._file.endswith("__init__.py")
        spec = importlib.machinery.ModuleSpec(fullname, Loader(self._code), origin=self._file, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [str(Path(self._file).parent)]
        return spec


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
        sys.meta_path.insert(0, Finder(mutant, root))
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
