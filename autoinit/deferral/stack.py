"""The stacks of modes of a thread: ours lies below those that are entered and left around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch._C import _len_torch_function_stack
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode
from torch.utils._python_dispatch import _disable_current_modes


def put_at_the_bottom(mode: TorchFunctionMode) -> None:
    """Enter a mode below all that are entered already, so that they can be left before it.

    Only the default device (`torch.set_default_device`) keeps its place: torch looks for it at the lowest.
    """
    modes = _take_all()
    default = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    at = 1 if modes and modes[0] is default else 0
    _put_back([*modes[:at], mode, *modes[at:]])


def take_out(mode: TorchFunctionMode) -> None:
    """Leave a mode, wherever it lies; nothing happens if it is not there."""
    if _len_torch_function_stack():
        _put_back([each for each in _take_all() if each is not mode])


@contextmanager
def unwatched() -> Iterator[None]:
    """A stretch in which no mode and no transform of torch sees what is run: it is no business of theirs."""
    modes = _disable_current_modes() if torch._C._len_torch_dispatch_stack() else nullcontext()
    with torch._C.DisableTorchFunction(), torch.no_grad(), torch._C._DisableFuncTorch(), modes:
        yield


def _take_all() -> list[TorchFunctionMode]:
    """All modes, the lowest first."""
    return [_pop_mode() for _ in range(_len_torch_function_stack())][::-1]  # type: ignore[no-untyped-call]


def _put_back(modes: list[TorchFunctionMode]) -> None:
    for mode in modes:
        _push_mode(mode)  # type: ignore[no-untyped-call]
