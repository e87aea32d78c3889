"""What is noticed while a block is open: constructions, deep copies, loads, calls of `init_weights`, first calls."""

from __future__ import annotations

import copy
import copyreg
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import FrameType, FunctionType
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from .. import _torch, applying, parametrized
from ..construction import ACCELERATORS, Watch, current_watch, current_watches, tensors_in
from ..modes import without_modes
from ..patches import PACKAGES, Patches
from ..planning import ENGINES
from .census import is_parallel
from .context import innermost, is_paused_within
from .deferring import declare_loaded
from .run import Run

_patches = Patches()
_open: list[Run] = []
_lock = threading.RLock()
_call_hook: list[RemovableHandle] = []
_classes: set[type] = set()
"""Those whose methods are being watched, or which have none of interest."""


def open_(run: Run) -> None:
    """Let a run notice what its thread or task does."""
    _patches.acquire()
    with _lock:
        _open.append(run)
    run.deferral.begin()
    run.begin()


def close(run: Run) -> None:
    """Stop that; with the last run, all traces go."""
    run.end()
    with _lock:
        _open.remove(run)
        if not _open:
            _classes.clear()
        _unhook_calls_if_idle()
    _patches.release()


def _runs_of(module: nn.Module) -> Iterator[Run]:
    """The open runs that a module was built in, inner before outer, from whatever thread it is used now."""
    return (run for run in _open[::-1] if module in run.census)


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
        _settle_arguments(run, instance, sys._getframe(1))
    if not _call_hook:
        _hook_calls()
    if type(instance) not in _classes:
        _watch(type(instance))


def _settle_arguments(run: Run, wrapper: nn.Module, frame: FrameType | None) -> None:
    """A model that is wrapped to run in parallel gets its values before the wrapper sends them to others (I5)."""
    while frame is not None:
        values = frame.f_locals.values() if frame.f_code.co_name == "__init__" else ()
        if any(value is wrapper for value in values):
            for module in values:
                if isinstance(module, nn.Module) and module is not wrapper and module in run.census:
                    run.settle_called(module)
            return
        frame = frame.f_back


def _watch(cls: type) -> None:
    """Patch what a class, or one of its ancestors, has of its own that the block has to know of."""
    _classes.add(cls)
    for base in cls.__mro__:
        for name, wrapper in WATCHED.items():
            # A plain method: some classes have an option or a property of that name.
            if isinstance(base.__dict__.get(name), FunctionType) and base.__module__ not in ENGINES:
                _patches.also(base, name, wrapper)


def _on_init_weights(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    if isinstance(instance, nn.Module):
        for run in _runs_of(instance):
            run.census.called.add(id(instance))
    return wrapped(*args, **kwargs)


class Remake:
    """Makes the empty object that a copy of a module starts as, and records it beside its original.

    `copy.deepcopy` calls no constructor. It asks the original how to be made again (`__reduce_ex__`), which is where
    this is handed out; so no module has to carry a mark that copies would inherit and somebody would have to remove.
    """

    def __init__(self, original: nn.Module) -> None:
        self._original = original

    def __call__(self, cls: type[nn.Module], *args: object) -> nn.Module:
        made: nn.Module = copyreg.__newobj__(cls, *args)  # type: ignore[attr-defined]
        _note_copy(made, self._original)
        return made

    def __reduce__(self) -> tuple[object, ...]:
        # Pickled inside a block, a module must not need autoinit to be read again.
        return functools.partial, (copyreg.__newobj__,)  # type: ignore[attr-defined]


def _on_reduce(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    value = wrapped(*args, **kwargs)
    if isinstance(value, tuple) and value[0] is copyreg.__newobj__ and any(True for _ in _runs_of(instance)):  # type: ignore[attr-defined]
        return (Remake(instance), *value[1:])
    return value


def _on_deepcopy(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    made = wrapped(*args, **kwargs)
    if isinstance(made, nn.Module) and made is not instance:
        _note_copy(made, instance)
    return made


def _note_copy(made: nn.Module, original: nn.Module) -> None:
    for run in _runs_of(original):
        if made not in run.census and not is_paused_within(run):
            run.census.add_copy(made, original)


def _on_new_class(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """A module that gets its first parametrization gets a class of its own, which has its own way to be copied."""
    value = wrapped(*args, **kwargs)
    module: nn.Module = args[0] if args else kwargs["module"]
    if any(True for _ in _runs_of(module)):
        _watch(type(module))
    return value


def _watch_here() -> Watch | None:
    """What watches the running code, if anything does."""
    run = innermost(Run)
    return run.deferral.watch if run is not None else None


@functools.lru_cache(maxsize=8192)
def _has_rules(cls: type) -> bool:
    """Whether modules of a class may have an `init_cfg`: by the class, or given by a constructor."""
    constructors = (base.__dict__.get("__init__") for base in cls.__mro__)
    return hasattr(cls, "init_cfg") or any(
        isinstance(each, FunctionType) and "init_cfg" in each.__code__.co_names for each in constructors
    )


def _registering(register: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(register)
    def register_parameter(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(self, name, param)
        if (watch := current_watch()) is not None:
            watch.watch_functions()

    return register_parameter


def _on_trunc_normal(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """torch draws these by rejection, and reads what it has drawn: operators would come in pieces."""
    watch = _watch_here()
    if watch is not None and kwargs.get("generator") is None and len(args) == 5 and watch.postpone_trunc_normal(*args):
        return args[0]
    return wrapped(*args, **kwargs)


def _on_generator(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """Reading or setting the state of the generator has to find it where it would be."""
    if (watch := _watch_here()) is not None:
        watch.postponed.run_draws()
    return wrapped(*args, **kwargs)


def _on_thread(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """What another thread does is not seen: once one gets work, nothing is postponed, and all values are compared."""
    if (watch := _watch_here()) is not None:
        watch.stop_postponing()
        watch.record.all_exposed = True
        for run in _open:
            if run.deferral.watch is watch:
                watch.expose(run.tensors())
    return wrapped(*args, **kwargs)


def _on_address(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """A function in C that hands out memory, of which no mode is told."""
    if (watch := _watch_here()) is not None:
        watch.expose(tensors_in((args, kwargs)))
    return wrapped(*args, **kwargs)


def _on_load_state_dict(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """A state dict is handed over as data, unless it is one of the block's own models', in a pause as well."""
    state = args[0] if args else kwargs.get("state_dict")
    for watch in current_watches() if isinstance(state, Mapping) else ():
        own = (tensor for run in _open if run.deferral.watch is watch for tensor in run.tensors())
        declare_loaded(watch, state, own, "load_state_dict", sys._getframe(1))
    return wrapped(*args, **kwargs)


def _on_setstate(wrapped: Callable[..., None], instance: nn.Module, args: Any, kwargs: Any) -> None:
    """Unpickling, and copying what was built elsewhere, call this in place of a constructor."""
    run = innermost(Run)
    if run is not None and instance not in run.census and not _is_copying(sys._getframe(1), instance):
        run.notice_unpickled(instance)
    wrapped(*args, **kwargs)


def _is_copying(frame: FrameType | None, instance: nn.Module) -> bool:
    """Whether `copy` sets a state, by way of `__setstate__` of subclasses and what other libraries put around it."""
    while frame is not None and frame.f_code.co_filename != copy.__file__:
        is_between = frame.f_code.co_filename.startswith(PACKAGES)
        if not is_between and not any(value is instance for value in frame.f_locals.values()):
            return False
        frame = frame.f_back
    return frame is not None


def _on_pretrained(wrapped: Callable[..., nn.Embedding], instance: object, args: Any, kwargs: Any) -> nn.Embedding:
    """Vectors that are handed over as pretrained are data by declaration, wherever they were made."""
    module = wrapped(*args, **kwargs)
    if (watch := _watch_here()) is not None:
        watch.record.declare(module.weight, "from_pretrained", sys._getframe(1))
    return module


def _hook_calls() -> None:
    with _lock:
        if not _call_hook:
            _call_hook.append(register_module_forward_pre_hook(_on_call))


def _unhook_calls_if_idle() -> None:
    if _call_hook and not any(run.census.roots() for run in _open):
        _call_hook.pop().remove()


def _on_call(module: nn.Module, args: Any) -> None:
    # Traced by torch.compile this is a constant, and the hook leaves no graph break.
    if torch.compiler.is_compiling():
        return
    for run in _runs_of(module):
        if id(module) not in run.census.final and not _is_no_use(run):
            with without_modes():
                run.settle_called(module)
            watch = run.deferral.watch
            if watch is not None and not any(each.census.roots() for each in _open if each.deferral.watch is watch):
                # All that was built is traced, compiled or trained from now on: there is nothing to watch.
                watch.end()
            with _lock:
                _unhook_calls_if_idle()


def _is_no_use(run: Run) -> bool:
    """Whether a call is no use of a model yet.

    A constructor of a module of the run makes forward passes to find out shapes; asking a module for a weight that is
    parametrized is a call of its parametrizations, and so is giving it one.
    """
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_NO_USERS):
            return True
        if code.co_name == "__init__" and code.co_argcount:
            owner = frame.f_locals.get(code.co_varnames[0])
            if isinstance(owner, nn.Module) and owner in run.census:
                return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


_NO_USERS = (parametrize.__file__, *(path + os.sep for part in (applying, parametrized) for path in part.__path__))
"""Files that call modules for the sake of their weights."""

WATCHED = {
    "init_weights": _on_init_weights,
    "__deepcopy__": _on_deepcopy,
}
"""Methods that classes have of their own, and what is told of their calls."""

_patches.want(nn.Module, "__init__", _on_init)
_patches.want(nn.Module, "__reduce_ex__", _on_reduce)
_patches.want(nn.Module, "__setstate__", _on_setstate)
_patches.want_instead(nn.Module, "register_parameter", _registering)
_patches.want(nn.Module, "load_state_dict", _on_load_state_dict)
_patches.want(nn.init, _torch.NO_GRAD_TRUNC_NORMAL, _on_trunc_normal)
_patches.want(threading.Thread, "start", _on_thread)
_patches.want(ThreadPoolExecutor, "submit", _on_thread)
for owners in ((torch, torch.random), *ACCELERATORS):
    for name in ("get_rng_state", "set_rng_state", "manual_seed", "manual_seed_all", "seed", "seed_all"):
        for module in owners:
            if hasattr(module, name):
                _patches.want(module, name, _on_generator)
for layer in (nn.Embedding, nn.EmbeddingBag):
    _patches.want(layer, "from_pretrained", _on_pretrained)
for owner in (torch, torch.utils.dlpack):
    _patches.want(owner, "to_dlpack", _on_address)
_patches.want(parametrize, _torch.INJECT_NEW_CLASS, _on_new_class)
