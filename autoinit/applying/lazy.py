"""The first call of a module with lazy parameters: fills them when the call has given them their shapes.

A pre-hook of the module may do that (torch's `LazyModuleMixin`, torch_geometric's `Linear`) or its forward. While any
fill is pending, every call of a module goes through here, and `UninitializedParameter.materialize` is wrapped. A fill
is written after all pre-hooks and before forward; a parameter that gets its shape in forward is filled at once. Where
forward writes to it afterwards, the result was computed with what forward wrote: it stays, and a warning says so.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as modules
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter

from ..layers import is_lazy
from ..patches import around, within
from ..planning import CONTAINERS, Report, joined
from .first_call import FirstCall, warn_of
from .lazy_fills import Waiting, copy_waiting, is_waiting, leave, modules_by_param, modules_waiting, patches
from .seeds import Values
from .targets import Targets

_calls: ContextVar[dict[int, FirstCall] | None] = ContextVar("autoinit_calls", default=None)
"""What the outermost call of this thread or task may give a shape, by the id of the module."""

_active: dict[int, FirstCall] = {}
"""The calls of modules with pending fills that are being made, in whatever thread."""

_BY_PARAM = object()
"""Key of an index in the memo of a deep copy, which lasts as long as the copying."""


def wait(report: Report, values: Values, targets: Targets) -> None:
    """Leave the fills of parameters that are lazy still for when they are not."""
    found: dict[int, Waiting] = {}
    for fqn, entry in report.items():
        if entry.deferred is None or not is_lazy(targets.params[fqn]):
            continue
        for alias in (fqn, *entry.aliases):
            path, name = _split(alias, targets)
            module = targets.modules[path]
            if id(module) not in found:
                found[id(module)] = Waiting(module=weakref.ref(module), path=path, values=values.fixed(), report=report)
            found[id(module)].entries[name] = entry
    for waiting in found.values():
        module = targets.modules[waiting.path]
        leave(waiting)
        _watch(type(module))
        if _is_being_called(module):
            _compare_after(module)


def _split(fqn: str, targets: Targets) -> tuple[str, str]:
    """The FQN of the module whose call gives a parameter its shape, and the parameter's name in it."""
    path, _, name = fqn.rpartition(".")
    while path and isinstance(targets.modules[path], CONTAINERS):
        path, _, last = path.rpartition(".")
        name = joined(last, name)
    return path, name


def _is_being_called(module: nn.Module) -> bool:
    """Whether a plan is applied because its model is called for the first time in its block."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename == modules.__file__ and frame.f_locals.get("self") is module:
            return True
        frame = frame.f_back
    return False


def _compare_after(module: nn.Module) -> None:
    """Watch a call that has begun: nothing can be done any more between its pre-hooks and its forward."""
    call = FirstCall(module)
    call.begin()

    def after(*args: Any) -> None:
        handle.remove()
        call.compare()
        warn_of(call.lost)

    handle = module.register_forward_hook(after, always_call=True)


def _watch(cls: type) -> None:
    for base in cls.__mro__:
        if callable(base.__dict__.get("__deepcopy__")):
            patches.also(base, "__deepcopy__", around(_on_deepcopy))
    if issubclass(cls, LazyModuleMixin):
        owner = next(base for base in cls.__mro__ if "initialize_parameters" in base.__dict__)
        patches.also(owner, "initialize_parameters", within(_within_initialize))


def _within_call(module: nn.Module) -> AbstractContextManager[None] | None:
    # Traced by torch.compile this is a constant, and leaves no graph break.
    if torch.compiler.is_compiling():
        return None
    calls = _calls.get()
    if calls is None:
        return _outermost(module)
    return _watched(module, calls) if id(module) not in _active and is_waiting(module) else None


@contextmanager
def _outermost(module: nn.Module) -> Iterator[None]:
    """A call that may give any module its shapes, also unseen, in code that is compiled; one warning for all."""
    calls: dict[int, FirstCall] = {}
    for each in modules_waiting():
        _prepared(each, calls)
    token = _calls.set(calls)
    try:
        with _within_call(module) or nullcontext():
            yield
    finally:
        _calls.reset(token)
        for call in calls.values():
            if id(call.module) not in _active:
                call.compare()
        warn_of([entry for call in calls.values() for entry in call.lost])


def _prepared(module: nn.Module, calls: dict[int, FirstCall]) -> FirstCall:
    call = calls.get(id(module))
    if call is None:
        call = calls[id(module)] = FirstCall(module)
        call.begin()
    return call


@contextmanager
def _watched(module: nn.Module, calls: dict[int, FirstCall]) -> Iterator[None]:
    call = _active[id(module)] = _prepared(module, calls)

    def last_pre_hook(module: nn.Module, args: Any) -> None:
        if not torch.compiler.is_compiling():
            handle.remove()
            call.fill()
            call.is_in_forward = True

    handle = module.register_forward_pre_hook(last_pre_hook)
    failed = True
    try:
        yield
        failed = False
    finally:
        handle.remove()
        del _active[id(module)]
        if failed and not call.is_in_forward:
            call.fill()
        else:
            call.compare()


def _within_initialize(module: nn.Module) -> AbstractContextManager[None] | None:
    """`LazyModuleMixin.initialize_parameters`: called by its pre-hook, by torch.compile, or by hand."""
    if not is_waiting(module):
        return None
    call = _active.get(id(module))
    if call is None:
        call = FirstCall(module)
        call.begin()
    elif call.is_in_forward or (_calls.get() or {}).get(id(module)) is not call:
        return None
    return _initializing(call)


@contextmanager
def _initializing(call: FirstCall) -> Iterator[None]:
    try:
        yield
    finally:
        call.fill()


def _materializing(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def materialize(self: Tensor, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        for call in (_calls.get() or {}).values():
            if call.is_in_forward:
                call.fill_at_once(self)

    return materialize


def _on_deepcopy(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """A copy of a module that waits for its first call waits, too."""
    copied = wrapped(*args, **kwargs)
    if isinstance(instance, nn.Module):
        if isinstance(copied, nn.Module):
            copy_waiting(instance, copied)
    elif isinstance(instance, Tensor) and is_lazy(instance):
        memo: dict[Any, Any] = args[0] if args else kwargs["memo"]
        if _BY_PARAM not in memo:
            memo[_BY_PARAM] = modules_by_param()
        for module in memo[_BY_PARAM].get(id(instance), ()):
            # A module without a __deepcopy__ of its own is in the memo before its parameters are copied.
            if isinstance(memo.get(id(module)), nn.Module):
                copy_waiting(module, memo[id(module)])
    return copied


patches.want(nn.Module, "__call__", within(_within_call))
patches.want(UninitializedParameter, "materialize", _materializing)
patches.want(UninitializedParameter, "__deepcopy__", around(_on_deepcopy))
patches.want(nn.Parameter, "__deepcopy__", around(_on_deepcopy))
