"""The stacks of modes of a thread, from which ours is taken wherever it lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._C import _len_torch_function_stack
from torch._ops import _len_torch_dispatch_stack_pre_dispatch
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils import _python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode


def push_function_mode(mode: TorchFunctionMode) -> None:
    """Insert a mode at the bottom of the stack, so that the modes above it can be left before it.

    Only the default device (`torch.set_default_device`) keeps its place: torch looks for it at the very bottom.
    """
    modes = _take_all()
    default = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    at = 1 if modes and modes[0] is default else 0
    _put_back([*modes[:at], mode, *modes[at:]])


def default_device_is_busy() -> bool:
    """Whether the mode of `torch.set_default_device` is off the stack, because it is handling a call."""
    default = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return default is not None and not any(mode is default for mode in _get_current_function_mode_stack())


def remove_function_mode(mode: TorchFunctionMode) -> None:
    """Take a mode off the stack, wherever it lies; nothing happens if it is not there."""
    if _len_torch_function_stack():
        _put_back([each for each in _take_all() if each is not mode])


def push_dispatch_mode(mode: TorchDispatchMode) -> None:
    """Insert a mode at the bottom of the stack of modes that users enter."""
    modes = _take_all_dispatch()
    for each in (mode, *modes):
        _python_dispatch._push_mode(each)  # type: ignore[no-untyped-call]


def remove_dispatch_mode(mode: TorchDispatchMode) -> None:
    """Take a mode off the stack, wherever it lies; nothing happens if it is not there."""
    if torch._C._len_torch_dispatch_stack():
        for each in _take_all_dispatch():
            if each is not mode:
                _python_dispatch._push_mode(each)  # type: ignore[no-untyped-call]


@contextmanager
def unwatched() -> Iterator[None]:
    """A stretch in which no mode and no transform of torch sees what is run."""
    with torch._C.DisableTorchFunction(), torch.no_grad(), torch._C._DisableFuncTorch(), _no_dispatch_modes():
        yield


@contextmanager
def _no_dispatch_modes() -> Iterator[None]:
    if (
        _len_torch_dispatch_stack_pre_dispatch()
    ):  # torch.export: torch's own way knows how these two stacks hang together
        with _python_dispatch._disable_current_modes():
            yield
        return
    modes = [_python_dispatch._pop_mode() for _ in range(torch._C._len_torch_dispatch_stack())]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for mode in reversed(modes):
            _python_dispatch._push_mode(mode)  # type: ignore[no-untyped-call]


def _take_all() -> list[TorchFunctionMode]:
    """All function modes, the lowest first."""
    return [_pop_mode() for _ in range(_len_torch_function_stack())][::-1]  # type: ignore[no-untyped-call]


def _put_back(modes: list[TorchFunctionMode]) -> None:
    for mode in modes:
        _push_mode(mode)  # type: ignore[no-untyped-call]


def _take_all_dispatch() -> list[TorchDispatchMode]:
    """All dispatch modes that users entered, the lowest first; torch keeps its own (fake tensors, ...) apart."""
    count = torch._C._len_torch_dispatch_stack() - _infrastructure()
    return [_python_dispatch._pop_mode() for _ in range(count)][::-1]  # type: ignore[no-untyped-call]


def _infrastructure() -> int:
    keys = (torch._C._TorchDispatchModeKey.FAKE, torch._C._TorchDispatchModeKey.PROXY)
    keys += (torch._C._TorchDispatchModeKey.FUNCTIONAL,)
    return sum(torch._C._get_dispatch_mode(key) is not None for key in keys)
