"""The first use of a model in its block: a global hook on calls, there while any model waits for its values."""

from __future__ import annotations

import os
import sys
import threading
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from .. import applying, parametrized
from ..modes import without_modes
from .run import Run, open_runs, runs_of

_lock = threading.RLock()
_handles: list[RemovableHandle] = []

_NO_USERS = (parametrize.__file__, *(path + os.sep for part in (applying, parametrized) for path in part.__path__))
"""Files that call modules for the sake of their weights."""


def hook() -> None:
    """Notice calls from now on."""
    if not _handles:
        with _lock:
            if not _handles:
                _handles.append(register_module_forward_pre_hook(_on_call))


def unhook_if_idle() -> None:
    """Notice no calls any more, unless a model waits for its values."""
    with _lock:
        if _handles and not any(run.built.roots() for run in open_runs):
            _handles.pop().remove()


def _on_call(module: nn.Module, args: Any) -> None:
    # Traced by torch.compile this is a constant, and the hook leaves no graph break.
    if torch.compiler.is_compiling():
        return
    for run in runs_of(module):
        if id(module) not in run.built.final and not _is_no_use(run, sys._getframe()):
            with without_modes():
                run.initialize(used=module)
            watch = run.deferral.watch
            if watch is not None and not any(each.built.roots() for each in open_runs if each.deferral.watch is watch):
                # All that was built is traced, compiled or trained from now on: there is nothing to watch.
                watch.end()
            unhook_if_idle()


def _is_no_use(run: Run, frame: FrameType | None) -> bool:
    """Whether a call is no use of a model yet.

    A constructor of a module of the run makes forward passes to find out shapes; asking a module for a weight that is
    parametrized is a call of its parametrizations, and so is giving it one.
    """
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_NO_USERS):
            return True
        if code.co_name == "__init__" and code.co_argcount:
            owner = frame.f_locals.get(code.co_varnames[0])
            if isinstance(owner, nn.Module) and owner in run.built:
                return True
        frame = frame.f_back
    return False
