"""The hook on `nn.Module.__init__`, and all other patches that are there while a block is open."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType, FunctionType
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils import parametrize

from .. import _torch
from ..construction import ACCELERATORS
from ..patches import Patches, Wrapper, around
from ..planning import ENGINES
from . import copying, first_uses, unseen
from .built import is_parallel
from .context import innermost
from .run import Run, open_runs, runs_of

_patches = Patches()
_lock = threading.RLock()
_classes: set[type] = set()
"""Those whose methods are being watched, or which have none of interest."""


def open_(run: Run) -> None:
    """Let a run notice what its thread or task does."""
    _patches.acquire()
    with _lock:
        open_runs.append(run)
    run.deferral.begin()
    run.begin()


def close(run: Run) -> None:
    """Stop that; with the last run, all traces go."""
    run.end()
    with _lock:
        open_runs.remove(run)
        if not open_runs:
            _classes.clear()
    first_uses.unhook_if_idle()
    _patches.release()


def _on_init(wrapped: Callable[..., None], instance: nn.Module, args: Any, kwargs: Any) -> None:
    wrapped(*args, **kwargs)
    run = innermost(Run)
    # What torch.compile builds while it traces is a picture of a model, not one.
    if run is None or _torch.is_compiling():
        return
    run.notice(instance)
    watch, cls = run.deferral.watch, cast(type, type(instance))
    if watch is not None and isinstance(instance, torch.jit.ScriptModule):
        watch.stop_postponing()  # C++ has its weights, and reads and saves them unseen.
    elif watch is None and _has_rules(cls):
        run.deferral.want()
    elif watch is not None:
        watch.begin()
    if is_parallel(instance):
        _initialize_arguments(run, instance, sys._getframe(1))
    first_uses.hook()
    if cls not in _classes:
        _watch(cls)


@functools.lru_cache(maxsize=8192)
def _has_rules(cls: type) -> bool:
    """Whether modules of a class may have an `init_cfg`: by the class, or given by a constructor."""
    constructors = (base.__dict__.get("__init__") for base in cls.__mro__)
    return hasattr(cls, "init_cfg") or any(
        isinstance(each, FunctionType) and "init_cfg" in each.__code__.co_names for each in constructors
    )


def _initialize_arguments(run: Run, wrapper: nn.Module, frame: FrameType | None) -> None:
    """A model that is wrapped to run in parallel gets its values before the wrapper sends them to others (I5)."""
    while frame is not None:
        values = frame.f_locals.values() if frame.f_code.co_name == "__init__" else ()
        if any(value is wrapper for value in values):
            for module in values:
                if isinstance(module, nn.Module) and module is not wrapper and module in run.built:
                    run.initialize(used=module)
            return
        frame = frame.f_back


def _watch(cls: type) -> None:
    """Patch what a class, or one of its ancestors, has of its own that the block has to know of."""
    _classes.add(cls)
    for base in cls.__mro__:
        for name, wrapper in WATCHED.items():
            # A plain method: some classes have an option or a property of that name.
            if isinstance(base.__dict__.get(name), FunctionType) and base.__module__ not in ENGINES:
                _patches.also(base, name, around(wrapper))


def _on_init_weights(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    if isinstance(instance, nn.Module):
        for run in runs_of(instance):
            run.built.called.add(id(instance))
    return wrapped(*args, **kwargs)


def _on_new_class(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """A module that gets its first parametrization gets a class of its own, which has its own way to be copied."""
    value = wrapped(*args, **kwargs)
    module: nn.Module = args[0] if args else kwargs["module"]
    if any(runs_of(module)):
        _watch(type(module))
    return value


WATCHED = {
    "init_weights": _on_init_weights,
    "__deepcopy__": copying.on_deepcopy,
}
"""Methods that classes have of their own, and what is told of their calls."""

STATES = ("get_rng_state", "set_rng_state", "manual_seed", "manual_seed_all", "seed", "seed_all")
PATCHED: tuple[tuple[Any, str, Wrapper], ...] = (
    (nn.Module, "__init__", _on_init),
    (nn.Module, "__reduce_ex__", copying.on_reduce),
    (nn.Module, "__setstate__", copying.on_setstate),
    (nn.Module, "load_state_dict", unseen.on_load_state_dict),
    (nn.init, _torch.NO_GRAD_TRUNC_NORMAL, unseen.on_trunc_normal),
    (threading.Thread, "start", unseen.on_thread),
    (ThreadPoolExecutor, "submit", unseen.on_thread),
    (nn.Embedding, "from_pretrained", unseen.on_pretrained),
    (nn.EmbeddingBag, "from_pretrained", unseen.on_pretrained),
    (torch, "to_dlpack", unseen.on_address),
    (torch.utils.dlpack, "to_dlpack", unseen.on_address),
    (parametrize, _torch.INJECT_NEW_CLASS, _on_new_class),
    *(
        (module, name, unseen.on_generator)
        for modules in ((torch, torch.random), *ACCELERATORS)
        for name in STATES
        for module in modules
        if hasattr(module, name)
    ),
)
for owner, name, wrapper in PATCHED:
    _patches.want(owner, name, around(wrapper))
_patches.want(nn.Module, "register_parameter", unseen.registering)
