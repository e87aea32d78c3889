"""The hook on `nn.Module.__init__`, the hook on first calls, and the list of all functions that are wrapped."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from traceback import walk_stack
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from .. import _torch, applying, parametrized
from ..construction import ACCELERATORS
from ..modes import without_modes
from ..patches import Wrapper, around
from . import deferral, loaded_weights, recording
from .built import constructed_by, is_parallel
from .extents import Extent, extents_of, open_extents
from .recording import patches, record
from .roots import initialize_roots
from .scope import Run, extents_here

CALLERS_FOR_WEIGHTS = (
    parametrize.__file__,
    *(path + os.sep for part in (applying, parametrized) for path in part.__path__),
)
"""Files that call modules for the sake of their weights."""

_lock = threading.RLock()
_handles: list[RemovableHandle] = []


def open_extent(extent: Extent) -> None:
    """Let a block or an observer record what its thread or task does."""
    patches.acquire()
    open_extents.append(extent)
    extent.begin()


def close_extent(extent: Extent, *, failed: bool = False, ends: bool = True) -> None:
    """Remove the patches with the last one, and give a block's models their values; a generator that yields goes on."""
    extent.end()
    open_extents.remove(extent)
    extent.classes.clear()
    _remove_idle_call_hook()
    patches.release()
    try:
        # Models that are half built keep what their constructors wrote.
        if isinstance(extent, Run) and not failed:
            initialize_roots(extent, ends=ends)
    finally:
        extent.stop_watching()


def _on_init(wrapped: Callable[..., None], instance: nn.Module, args: Any, kwargs: Any) -> None:
    wrapped(*args, **kwargs)
    # What torch.compile builds while it traces is a stand-in for a model.
    if _torch.is_compiling():
        return
    scope, extents = extents_here()
    for each in extents:
        record(each, instance)
    if scope is None:
        return
    if scope.watch is None:
        if scope.classes.get(type(instance)):
            scope.start_watching()
    elif isinstance(instance, torch.jit.ScriptModule):
        scope.watch.stop_postponing()  # C++ has its weights, and reads and saves them unseen.
    else:
        scope.watch.begin()
    if is_parallel(instance):
        _initialize_arguments(scope, instance)
    if not _handles:
        _handles.append(register_module_forward_pre_hook(_on_call))


def _initialize_arguments(scope: Run, wrapper: nn.Module) -> None:
    """Initialize a model before its parallel wrapper broadcasts its weights (I5)."""
    for frame, _ in walk_stack(sys._getframe(2)):
        if constructed_by(frame) is wrapper:
            for module in frame.f_locals.values():
                if isinstance(module, nn.Module) and module is not wrapper and module in scope.built:
                    initialize_roots(scope, used=module)
            return


def _remove_idle_call_hook() -> None:
    """Remove the hook on calls, unless a model has not got its values."""
    with _lock:
        if _handles and not any(isinstance(each, Run) and each.built.roots() for each in open_extents):
            while _handles:  # Two threads may have added one each.
                _handles.pop().remove()


def _on_call(module: nn.Module, args: Any) -> None:
    # Traced by torch.compile this is a constant, and the hook leaves no graph break.
    if torch.compiler.is_compiling():
        return
    for scope in extents_of(module):
        if not isinstance(scope, Run) or id(module) in scope.built.final or _is_no_use_yet(scope):
            continue
        with without_modes():
            initialize_roots(scope, used=module)
        watch = scope.watch
        is_done = not any(each.built.roots() for each in open_extents if each.watch is watch)
        # In another thread the block goes on: it may be in the middle of a constructor.
        if watch is not None and is_done and scope.is_here():
            # All that was built is traced, compiled or trained from now on: there is nothing to watch.
            watch.end()
        _remove_idle_call_hook()


def _is_no_use_yet(scope: Run) -> bool:
    """Whether to ignore a forward pass: by a constructor to find a shape, or to read or set a parametrized weight."""
    return any(
        frame.f_code.co_filename.startswith(CALLERS_FOR_WEIGHTS) or constructed_by(frame) in scope.built
        for frame, _ in walk_stack(sys._getframe(2))
    )


STATES = ("get_rng_state", "set_rng_state", "manual_seed", "manual_seed_all", "seed", "seed_all")
WRAPPED: tuple[tuple[Any, str, Wrapper], ...] = (
    (nn.Module, "__init__", _on_init),
    (nn.Module, "__reduce_ex__", recording.on_reduce),
    (nn.Module, "__setstate__", loaded_weights.on_setstate),
    (nn.Module, "load_state_dict", loaded_weights.on_load_state_dict),
    (nn.Embedding, "from_pretrained", loaded_weights.on_pretrained),
    (nn.EmbeddingBag, "from_pretrained", loaded_weights.on_pretrained),
    (parametrize, _torch.INJECT_NEW_CLASS, recording.on_new_class),
    (nn.init, _torch.NO_GRAD_TRUNC_NORMAL, deferral.on_trunc_normal),
    (threading.Thread, "start", deferral.on_thread),
    (ThreadPoolExecutor, "submit", deferral.on_thread),
    (torch, "to_dlpack", deferral.on_address),
    (torch.utils.dlpack, "to_dlpack", deferral.on_address),
    *(
        (module, name, deferral.on_generator)
        for modules in ((torch, torch.random), *ACCELERATORS)
        for name in STATES
        for module in modules
        if hasattr(module, name)
    ),
)
for owner, name, wrapper in WRAPPED:
    patches.want(owner, name, around(wrapper))
patches.want(nn.Module, "register_parameter", deferral.registering)
