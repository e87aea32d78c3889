"""What is noticed while a block is open: constructions, deep copies, loads, calls of `init_weights`, first calls."""

from __future__ import annotations

import copyreg
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch._guards import TracingContext
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from ..planning import ENGINES
from .context import innermost
from .patches import Patches
from .run import Run

_patches = Patches()
_open: list[Run] = []
_lock = threading.RLock()
_call_hook: list[RemovableHandle] = []
_classes: set[type] = set()
"""Those whose `init_weights` is being watched, or which have none."""


def open_(run: Run) -> None:
    """Let a run notice what its thread or task does."""
    _patches.acquire()
    with _lock:
        _open.append(run)
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
    if run is None or ("torch._dynamo" in sys.modules and TracingContext.try_get() is not None):
        return
    run.notice(instance)
    if not _call_hook:
        _hook_calls()
    if type(instance) not in _classes:
        _watch_init_weights(type(instance))


def _watch_init_weights(cls: type) -> None:
    _classes.add(cls)
    for base in cls.__mro__:
        # A plain method: some classes have an option or a property of that name.
        if isinstance(base.__dict__.get("init_weights"), FunctionType) and base.__module__ not in ENGINES:
            _patches.also(base, "init_weights", _on_init_weights)


def _on_init_weights(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    if isinstance(instance, nn.Module):
        for run in _runs_of(instance):
            run.census.called.add(id(instance))
    return wrapped(*args, **kwargs)


def _on_load(wrapped: Callable[..., None], instance: nn.Module, args: Any, kwargs: Any) -> None:
    wrapped(*args, **kwargs)
    runs = list(_runs_of(instance))
    if not runs:
        return
    state, prefix = _load_arguments(*args, **kwargs)
    names = []
    for name, param in instance._parameters.items():
        given = state.get(prefix + name)
        if param is not None and given is not None and given.shape == param.shape:
            names.append(name)
    for run in runs:
        run.census.note_loaded(instance, names)


def _load_arguments(
    state_dict: dict[str, torch.Tensor], prefix: str, *_: Any, **__: Any
) -> tuple[dict[str, torch.Tensor], str]:
    return state_dict, prefix


class Remake:
    """Makes the empty object that a copy of a module starts as, and records it beside its original.

    `copy.deepcopy` calls no constructor. It asks the original how to be made again (`__reduce_ex__`), which is where
    this is handed out; so no module has to carry a mark that copies would inherit and somebody would have to remove.
    """

    def __init__(self, original: nn.Module) -> None:
        self._original = original

    def __call__(self, cls: type[nn.Module], *args: object) -> nn.Module:
        made: nn.Module = copyreg.__newobj__(cls, *args)  # type: ignore[attr-defined]
        for run in _runs_of(self._original):
            run.census.add_copy(made, self._original)
        return made

    def __reduce__(self) -> tuple[object, ...]:
        # Pickled inside a block, a module must not need autoinit to be read again.
        return functools.partial, (copyreg.__newobj__,)  # type: ignore[attr-defined]


def _on_reduce(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    value = wrapped(*args, **kwargs)
    if isinstance(value, tuple) and value[0] is copyreg.__newobj__ and any(True for _ in _runs_of(instance)):  # type: ignore[attr-defined]
        return (Remake(instance), *value[1:])
    return value


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
        if id(module) not in run.census.final and not _under_construction(run):
            run.settle_called(module)
            with _lock:
                _unhook_calls_if_idle()


def _under_construction(run: Run) -> bool:
    """Whether a constructor of a module of the run is being executed: its forward passes probe shapes."""
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__init__" and code.co_argcount:
            owner = frame.f_locals.get(code.co_varnames[0])
            if isinstance(owner, nn.Module) and owner in run.census:
                return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


_patches.want(nn.Module, "__init__", _on_init)
_patches.want(nn.Module, "_load_from_state_dict", _on_load)
_patches.want(nn.Module, "__reduce_ex__", _on_reduce)
