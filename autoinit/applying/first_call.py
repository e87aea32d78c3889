"""The first call of a module with lazy parameters: fills them when the call has given them their shapes.

A pre-hook of the module may do that (torch's `LazyModuleMixin`, torch_geometric's `Linear`) or its forward. While any
fill is pending, every call of a module goes through here, and `UninitializedParameter.materialize` is wrapped. A fill
is written after all pre-hooks and before forward; a parameter that gets its shape in forward is filled at once. Where
forward overwrites it, the output was computed with what forward wrote: it stays, and a warning says so.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from traceback import walk_stack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as modules
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter

from ..errors import warn
from ..layers import is_lazy
from ..modes import without_modes
from ..patches import around, within
from ..planning import CONTAINERS, FILLED, KEPT, LOADED, PENDING, Entry, Report, joined
from .lazy import Pending, copy_pending, patches, pending_modules, pending_of, take, with_shape
from .seeds import Values
from .targets import Targets

SHOWN = 5
"""How many parameters a warning names."""


class FirstCall:
    """A call of a module with pending fills; `in_forward` once its pre-hooks have run.

    `lost` has the entries of the parameters that forward has overwritten.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.in_forward = False
        self.lost: list[Entry] = []
        self._filled: dict[int, Tensor] = {}
        for pending, loaded, _, param in take(module):
            pending.report.amend(replace(loaded, shape=tuple(param.shape), deferred=None), LOADED)
        # Many layers reset all their parameters when they get a shape.
        with without_modes():  # The outermost call may be one that torch.jit traces.
            self._beside = {
                name: (pending, entry, each.detach().clone())
                for pending in pending_of(module)
                for name, each in module._parameters.items()
                if type(each) is nn.Parameter and each.layout == torch.strided and not each.is_meta
                if (entry := pending.report.get(joined(pending.path, name))) is not None and entry.outcome == FILLED
            }

    def fill_at_once(self, param: Tensor) -> None:
        """Fill a parameter that forward has just given its shape, and which it may use next."""
        for pending in pending_of(self.module) if self.in_forward else ():
            for _, entry, owner, found in pending.materialized(self.module):
                if found is param:
                    pending.write(with_shape(entry, param, owner), param)
                    self._filled[id(param)] = param.detach().clone()

    def finish(self, *, in_forward: bool | None = None) -> None:
        """Fill the parameters that have a shape now; where forward has overwritten them, only note it."""
        self.in_forward = self.in_forward if in_forward is None else in_forward
        taken = take(self.module)
        for pending, entry, owner, param in taken:
            known = with_shape(entry, param, owner)
            if not self.in_forward:
                pending.write(known, param)
            elif known.fill is not None and not _is_same(param, self._filled.get(id(param))):
                self.lost.append(entry)
                continue
            pending.report.amend(known, KEPT if known.fill is None else FILLED)
        for name, (pending, filled, before) in self._beside.items() if taken else ():
            now = self.module._parameters.get(name)
            if _is_same(now, before):
                continue
            if self.in_forward:
                pending.report.amend(filled, PENDING)
                self.lost.append(filled)
            elif now is not None and now.shape == before.shape:
                with torch.no_grad():
                    now.copy_(before)


def _is_same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


_calls: ContextVar[dict[int, FirstCall] | None] = ContextVar("autoinit_calls", default=None)
"""During the outermost call of this thread or task: by id, the calls of all modules with pending fills."""

_active: dict[int, FirstCall] = {}
"""By the id of the module, the calls that are being made, in any thread."""


def leave_pending(entries: Iterable[Entry], report: Report, values: Values, targets: Targets) -> None:
    """Leave the fills of parameters that are still lazy for when they are not; they amend the report then."""
    found: dict[int, Pending] = {}
    # Nothing of the model, which may be gone when its parameters would get their shapes.
    values = replace(values, targets=Targets({}, {}, {}), requested=report.seed, whole=None, samplers={})
    for entry in entries:
        for fqn in (entry.fqn, *entry.aliases) if is_lazy(targets.params[entry.fqn]) else ():
            path, _, name = fqn.rpartition(".")
            while path and isinstance(targets.modules[path], CONTAINERS):  # Never called itself.
                path, _, last = path.rpartition(".")
                name = joined(last, name)
            module = targets.modules[path]
            if id(module) not in found:
                found[id(module)] = Pending(module=weakref.ref(module), path=path, values=values, report=report)
            found[id(module)].entries[name] = entry
    for pending in found.values():
        module = targets.modules[pending.path]
        pending.leave()
        for cls in type(module).__mro__:
            if callable(cls.__dict__.get("__deepcopy__")):
                patches.also(cls, "__deepcopy__", around(_on_deepcopy))
            if issubclass(cls, LazyModuleMixin) and "initialize_parameters" in cls.__dict__:
                patches.also(cls, "initialize_parameters", within(_within_initialize))
        for frame, _ in walk_stack(sys._getframe()):
            # The plan is applied because its model is called for the first time in its block.
            if frame.f_code.co_filename == modules.__file__ and frame.f_locals.get("self") is module:
                _watch_forward(module)
                break


def _watch_forward(module: nn.Module) -> None:
    """Watch a call that has begun: nothing can be done any more between its pre-hooks and its forward."""
    call = FirstCall(module)

    def after(*args: Any) -> None:
        handle.remove()
        call.finish(in_forward=True)
        _warn_of_lost([call])

    handle = module.register_forward_hook(after, always_call=True)


def _within_call(module: nn.Module) -> AbstractContextManager[None] | None:
    # Traced by torch.compile this is a constant, and leaves no graph break.
    if torch.compiler.is_compiling():
        return None
    calls = _calls.get()
    if calls is None:
        return _outermost(module)
    return _watched(module, calls) if id(module) not in _active and pending_of(module) else None


@contextmanager
def _outermost(module: nn.Module) -> Iterator[None]:
    """A call that may give any module its shapes, also unseen, in code that is compiled; one warning for all."""
    calls = {id(each): FirstCall(each) for each in pending_modules()}
    token = _calls.set(calls)
    try:
        with _within_call(module) or nullcontext():
            yield
    finally:
        _calls.reset(token)
        for call in calls.values():
            if id(call.module) not in _active:
                call.finish(in_forward=True)
        _warn_of_lost(calls.values())


def _warn_of_lost(calls: Iterable[FirstCall]) -> None:
    texts = list(dict.fromkeys(f"{entry.fqn} ({entry.origin})" for call in calls for entry in call.lost))
    if texts:
        more = f" and {len(texts) - SHOWN} others" if len(texts) > SHOWN else ""
        warn(
            f"{', '.join(texts[:SHOWN])}{more}: pending, and not filled. The first call of the module wrote other "
            "values there when it gave parameters their shape. Call initialize(model, init_cfg) after the first call "
            "to fill them."
        )


@contextmanager
def _watched(module: nn.Module, calls: dict[int, FirstCall]) -> Iterator[None]:
    call = _active[id(module)] = calls[id(module)] = calls.get(id(module)) or FirstCall(module)
    call.in_forward = False

    def last_pre_hook(module: nn.Module, args: Any) -> None:
        if not torch.compiler.is_compiling():
            handle.remove()
            call.finish()
            call.in_forward = True

    handle = module.register_forward_pre_hook(last_pre_hook)
    try:
        yield
        call.in_forward = True
    finally:
        handle.remove()
        del _active[id(module)]
        call.finish()


@contextmanager
def _within_initialize(module: nn.Module) -> Iterator[None]:
    """`LazyModuleMixin.initialize_parameters`: called by its pre-hook, by torch.compile, or by hand."""
    call = _active.get(id(module)) or FirstCall(module)
    try:
        yield
    finally:
        call.finish()


def _materializing(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def materialize(self: Tensor, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        for call in (_calls.get() or {}).values():
            call.fill_at_once(self)

    return materialize


def _on_deepcopy(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """What is pending for a module is pending for a copy, too."""
    copied = wrapped(*args, **kwargs)
    if isinstance(instance, nn.Module) and isinstance(copied, nn.Module):
        copy_pending(instance, copied)
    elif isinstance(instance, Tensor) and is_lazy(instance):
        memo: dict[int, Any] = args[0] if args else kwargs["memo"]
        # A module without a __deepcopy__ of its own is in the memo before its parameters are copied.
        for module in pending_modules():
            if isinstance(memo.get(id(module)), nn.Module):
                copy_pending(module, memo[id(module)])
    return copied


patches.want(nn.Module, "__call__", within(_within_call))
patches.want(UninitializedParameter, "materialize", _materializing)
patches.want(UninitializedParameter, "__deepcopy__", around(_on_deepcopy))
patches.want(nn.Parameter, "__deepcopy__", around(_on_deepcopy))
