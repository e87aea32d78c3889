"""The hook on `nn.Module.__init__`, and all other functions that are replaced while a block is open."""

from __future__ import annotations

import copy
import copyreg
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from traceback import walk_stack
from types import FunctionType
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from .. import _torch, applying, parametrized
from ..construction import ACCELERATORS, listeners
from ..modes import without_modes
from ..patches import PACKAGES, Patches, Wrapper, around
from ..planning import ENGINES
from . import unseen
from .built import constructed_by, is_parallel
from .extents import Observer, is_paused, observers_here, observers_of, open_observers
from .roots import initialize_roots
from .scope import Run, innermost, open_scopes, scopes_of

_patches = Patches()
_known_classes: set[type] = set()
"""Classes whose own methods are wrapped, or which have none of interest."""


def open_scope(scope: Run) -> None:
    """Let a block record what its thread or task does."""
    _patches.acquire()
    open_scopes.append(scope)
    # Rules of the block, of one around it, or of its modules may replace what constructors write.
    if scope.watch is not None or scope.rules or not ENGINES.isdisjoint(sys.modules):
        scope.start_watching()
    scope.begin()


def close_scope(scope: Run, *, failed: bool, ends: bool = True) -> None:
    """Remove the patches with the last block, and give the models their values; a generator that yields goes on."""
    scope.end()
    open_scopes.remove(scope)
    _forget_classes()
    _remove_idle_call_hook()
    _patches.release()
    try:
        if not failed:  # Models that are half built keep what their constructors wrote.
            initialize_roots(scope, ends=ends)
    finally:
        scope.stop_watching()


def open_observer(observer: Observer) -> None:
    """Let an observer see what its thread or task does."""
    _patches.acquire()
    open_observers.append(observer)
    observer.watch.users += 1
    observer.watch.begin()
    listeners.current = (*listeners.current, observer.listener)
    observer.begin()


def close_observer(observer: Observer) -> None:
    """Undo `open_observer`."""
    observer.end()
    listeners.current = tuple(each for each in listeners.current if each != observer.listener)
    open_observers.remove(observer)
    observer.watch.users -= 1
    if not observer.watch.users:
        observer.watch.end()
    _forget_classes()
    _patches.release()


def _forget_classes() -> None:
    """Their methods are no longer wrapped once the last block has ended."""
    if not open_scopes and not open_observers:
        _known_classes.clear()


def _observe(module: nn.Module, observers: Iterable[Observer]) -> None:
    for observer in observers:
        observer.built.add(module)
        if type(module) not in _known_classes:
            _wrap_own_methods(type(module))


def _on_init(wrapped: Callable[..., None], instance: nn.Module, args: Any, kwargs: Any) -> None:
    wrapped(*args, **kwargs)
    scope = innermost()
    # What torch.compile builds while it traces is a stand-in for a model.
    if (scope is None and not open_observers) or _torch.is_compiling():
        return
    if open_observers:
        _observe(instance, observers_here())
    if scope is None:
        return
    for each in (scope, *scope.around):
        each.built.add(instance)
    cls = cast(type, type(instance))
    if scope.watch is None:
        if _has_rules(cls):
            scope.start_watching()
    elif isinstance(instance, torch.jit.ScriptModule):
        scope.watch.stop_postponing()  # C++ has its weights, and reads and saves them unseen.
    else:
        scope.watch.begin()
    if is_parallel(instance):
        _initialize_arguments(scope, instance)
    if not _handles:
        _add_call_hook()
    if cls not in _known_classes:
        _wrap_own_methods(cls)


@functools.lru_cache(maxsize=8192)
def _has_rules(cls: type) -> bool:
    """Whether modules of a class may have an `init_cfg`, as a class attribute or set by a constructor."""
    constructors = (base.__dict__.get("__init__") for base in cls.__mro__)
    return hasattr(cls, "init_cfg") or any(
        isinstance(each, FunctionType) and "init_cfg" in each.__code__.co_names for each in constructors
    )


def _initialize_arguments(scope: Run, wrapper: nn.Module) -> None:
    """Initialize a model before its parallel wrapper broadcasts its weights (I5)."""
    for frame, _ in walk_stack(sys._getframe(2)):
        if constructed_by(frame) is wrapper:
            for module in frame.f_locals.values():
                if isinstance(module, nn.Module) and module is not wrapper and module in scope.built:
                    initialize_roots(scope, used=module)
            return


def _wrap_own_methods(cls: type) -> None:
    """Wrap the `init_weights` and `__deepcopy__` of a class and its ancestors."""
    _known_classes.add(cls)
    for base in cls.__mro__:
        for name, wrapper in OWN_METHODS.items():
            # A plain method: some classes have an option or a property of that name.
            if isinstance(base.__dict__.get(name), FunctionType) and base.__module__ not in ENGINES:
                _patches.also(base, name, around(wrapper))


def _on_init_weights(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    if isinstance(instance, nn.Module):
        for scope in scopes_of(instance):
            scope.built.called.add(id(instance))
    return wrapped(*args, **kwargs)


def _on_new_class(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """A module that gets its first parametrization gets a class of its own, with a `__deepcopy__` of its own."""
    value = wrapped(*args, **kwargs)
    module: nn.Module = args[0] if args else kwargs["module"]
    if any(scopes_of(module)) or any(observers_of(module)):
        _wrap_own_methods(type(module))
    return value


# --- First calls -----------------------------------------------------------------------------------------------------

_lock = threading.RLock()
_handles: list[RemovableHandle] = []

CALLERS_FOR_WEIGHTS = (
    parametrize.__file__,
    *(path + os.sep for part in (applying, parametrized) for path in part.__path__),
)
"""Files that call modules for the sake of their weights."""


def _add_call_hook() -> None:
    with _lock:
        if not _handles:
            _handles.append(register_module_forward_pre_hook(_on_call))


def _remove_idle_call_hook() -> None:
    """Remove the hook on calls, unless a model has not got its values."""
    with _lock:
        if _handles and not any(scope.built.roots() for scope in open_scopes):
            _handles.pop().remove()


def _on_call(module: nn.Module, args: Any) -> None:
    # Traced by torch.compile this is a constant, and the hook leaves no graph break.
    if torch.compiler.is_compiling():
        return
    for scope in scopes_of(module):
        if id(module) in scope.built.final or _is_no_use_yet(scope):
            continue
        with without_modes():
            initialize_roots(scope, used=module)
        watch = scope.watch
        is_done = not any(each.built.roots() for each in open_scopes if each.watch is watch)
        # In another thread the block goes on: it may be in the middle of a constructor.
        if watch is not None and is_done and scope.is_here():
            # All that was built is traced, compiled or trained from now on: there is nothing to watch.
            watch.end()
        _remove_idle_call_hook()


def _is_no_use_yet(scope: Run) -> bool:
    """Whether to ignore a forward pass: by a constructor to find a shape, or to read or set a parametrized weight."""
    for frame, _ in walk_stack(sys._getframe(2)):
        if frame.f_code.co_filename.startswith(CALLERS_FOR_WEIGHTS) or constructed_by(frame) in scope.built:
            return True
    return False


# --- Copies ----------------------------------------------------------------------------------------------------------

_make: Callable[..., Any] = copyreg.__newobj__  # type: ignore[attr-defined]


class Remake:
    """Makes the empty object that a deep copy starts as, and records it: `copy.deepcopy` calls no constructor."""

    def __init__(self, original: nn.Module) -> None:
        self._original = original

    def __call__(self, cls: type[nn.Module], *args: object) -> nn.Module:
        made: nn.Module = _make(cls, *args)
        record_copy(made, self._original)
        return made

    def __reduce__(self) -> tuple[object, ...]:
        # Pickled inside a block, a module must not need autoinit to be read again.
        return functools.partial, (_make,)


def on_reduce(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    """Record the copy that is about to be made of a module of a block."""
    value = wrapped(*args, **kwargs)
    if isinstance(value, tuple) and value[0] is _make and (any(scopes_of(instance)) or any(observers_of(instance))):
        return (Remake(instance), *value[1:])
    return value


def on_deepcopy(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    """Record the copy that a class makes with a `__deepcopy__` of its own."""
    made = wrapped(*args, **kwargs)
    if isinstance(made, nn.Module) and made is not instance:
        record_copy(made, instance)
    return made


def record_copy(made: nn.Module, original: nn.Module) -> None:
    """Record a copy in the blocks that the original was built in, unless they are paused."""
    for scope in scopes_of(original):
        if made not in scope.built and not is_paused(scope):
            scope.built.add(made)
            for marked in (scope.built.called, scope.built.final):
                if id(original) in marked:
                    marked.add(id(made))
    _observe(made, (each for each in observers_of(original) if not is_paused(each)))


def on_setstate(wrapped: Callable[..., None], instance: nn.Module, args: Any, kwargs: Any) -> None:
    """Record an unpickled module: it was loaded as a whole, and its own rules and `init_weights` do not run."""
    scope = innermost()
    if open_observers and not _is_copying(instance):
        _observe(instance, observers_here())
    if scope is not None and instance not in scope.built and not _is_copying(instance):
        for each in (scope, *scope.around):
            each.built.add(instance)
            each.built.called.add(id(instance))
            each.built.carried_out.add(id(instance))
    wrapped(*args, **kwargs)


def _is_copying(instance: nn.Module) -> bool:
    """Whether `copy` sets a state, through `__setstate__` of subclasses and wrappers of other libraries."""
    for frame, _ in walk_stack(sys._getframe(2)):
        file = frame.f_code.co_filename
        if file == copy.__file__:
            return True
        if not file.startswith(PACKAGES) and not any(value is instance for value in frame.f_locals.values()):
            return False
    return False


# --- What is replaced ------------------------------------------------------------------------------------------------

OWN_METHODS = {"init_weights": _on_init_weights, "__deepcopy__": on_deepcopy}
STATES = ("get_rng_state", "set_rng_state", "manual_seed", "manual_seed_all", "seed", "seed_all")
PATCHED: tuple[tuple[Any, str, Wrapper], ...] = (
    (nn.Module, "__init__", _on_init),
    (nn.Module, "__reduce_ex__", on_reduce),
    (nn.Module, "__setstate__", on_setstate),
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
