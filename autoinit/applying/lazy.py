"""The first call of a module with lazy parameters: fills them when the call has given them their shapes.

A pre-hook of the module may do that (torch's `LazyModuleMixin`, torch_geometric's `Linear`) or its forward. While any
fill is pending, every call of a module goes through here, and `UninitializedParameter.materialize` is wrapped. A fill
is written after all pre-hooks and before forward; a parameter that gets its shape in forward is filled at once. Where
forward writes to it afterwards, the result was computed with what forward wrote: it stays, and a warning says so.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.parameter import UninitializedParameter

from ..layers import is_lazy
from ..patches import within
from ..planning import Report
from .first_call import FirstCall, is_outermost, one_warning
from .pending import Waiting, copy_waiting, is_waiting, leave, modules_with, patches
from .targets import Targets
from .values import Values

_calls: dict[int, FirstCall] = {}
"""The calls that are being watched, by the id of the module."""


def wait(report: Report, values: Values, targets: Targets) -> None:
    """Leave the fills of parameters that are lazy still for when they are not."""
    found: dict[str, Waiting] = {}
    for fqn, entry in report.items():
        if entry.deferred is None or not is_lazy(targets.params[fqn]):
            continue
        for name in (fqn, *entry.aliases):
            path, _, last = name.rpartition(".")
            if path not in found:
                module = weakref.ref(targets.modules[path])
                found[path] = Waiting(module=module, path=path, values=values.fixed(), report=report)
            found[path].entries[last] = entry
    for waiting in found.values():
        leave(waiting)
        _watch(type(targets.modules[waiting.path]))


def _watch(cls: type) -> None:
    for base in cls.__mro__:
        if "initialize_parameters" in base.__dict__ and issubclass(base, LazyModuleMixin):
            patches.also_instead(base, "initialize_parameters", within(_within_initialize))
        if callable(base.__dict__.get("__deepcopy__")):
            patches.also(base, "__deepcopy__", _on_deepcopy)


def _within_call(module: nn.Module) -> AbstractContextManager[None] | None:
    # Traced by torch.compile this is a constant, and leaves no graph break.
    if torch.compiler.is_compiling():
        return None
    if id(module) not in _calls and is_waiting(module):
        return _first_call(module)
    return one_warning() if is_outermost() else None


@contextmanager
def _opened(module: nn.Module) -> Iterator[FirstCall]:
    call = _calls[id(module)] = FirstCall(module)
    try:
        call.begin()
        yield call
    finally:
        del _calls[id(module)]


@contextmanager
def _first_call(module: nn.Module) -> Iterator[None]:
    with one_warning(), _opened(module) as call:

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
            if failed and not call.is_in_forward:
                call.fill()
            else:
                call.compare()


def _within_initialize(module: nn.Module) -> AbstractContextManager[None] | None:
    call = _calls.get(id(module))
    if call is None:
        return _initializing(_opened(module)) if is_waiting(module) else None
    is_ours = call.thread == threading.get_ident() and not call.is_in_forward
    return _initializing(nullcontext(call)) if is_ours else None


@contextmanager
def _initializing(opened: AbstractContextManager[FirstCall]) -> Iterator[None]:
    """`LazyModuleMixin.initialize_parameters`: called by hand, by torch.compile, or by the pre-hook of the mixin."""
    with opened as call:
        try:
            yield
        finally:
            call.fill()


def _after_call(module: nn.Module, args: Any, output: Any) -> None:
    """A call that began before its module had pending fills: one in the block, which made the plan."""
    if not torch.compiler.is_compiling() and id(module) not in _calls and is_waiting(module):
        FirstCall(module).compare()


def _materializing(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def materialize(self: Tensor, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        for call in list(_calls.values()):
            if call.is_in_forward and call.thread == threading.get_ident():
                call.fill_at_once(self)

    return materialize


def _on_deepcopy(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """A copy of a module that waits for its first call waits, too."""
    copied = wrapped(*args, **kwargs)
    if isinstance(instance, nn.Module):
        if isinstance(copied, nn.Module):
            copy_waiting(instance, copied)
    elif isinstance(instance, Tensor) and is_lazy(instance):
        memo = args[0] if args else kwargs["memo"]
        for module in modules_with(instance):
            # A module without a __deepcopy__ of its own is in the memo before its parameters are copied.
            if isinstance(memo.get(id(module)), nn.Module):
                copy_waiting(module, memo[id(module)])
    return copied


patches.want_instead(nn.Module, "__call__", within(_within_call))
patches.want_instead(UninitializedParameter, "materialize", _materializing)
patches.want(UninitializedParameter, "__deepcopy__", _on_deepcopy)
patches.want(nn.Parameter, "__deepcopy__", _on_deepcopy)
patches.want_hook(lambda: register_module_forward_hook(_after_call))
