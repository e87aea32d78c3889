"""A context outside of all modes, transforms and tracing that surround a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch

from . import _torch

AUTOCASTING = ("cpu", "cuda", "xpu", "mps", "hpu", "mtia", "xla")
"""Device types for which torch can autocast."""


def without_modes() -> AbstractContextManager[None]:
    """Run a block of code as if nothing surrounded the call: neither modes nor `torch.func` nor `torch.jit.trace`.

    Function modes, dispatch modes (`FakeTensorMode`), transforms, tracing, autocast and inference mode end inside and
    are afterwards as they were. Modes of this package stay, and so does `torch.set_default_device`. Grad mode stays
    as it is; inside of inference mode it is off.

    Example:
        >>> with torch.device("meta"), without_modes():
        ...     print(torch.empty(2).device)
        cpu
    """
    is_surrounded = (
        _torch.function_modes()
        or _torch.number_of_dispatch_modes()
        or _torch.is_transforming()
        or _torch.tracing_state() is not None
        or torch.is_inference_mode_enabled()
        or any(map(torch.is_autocast_enabled, AUTOCASTING))
    )
    return _without_all() if is_surrounded else nullcontext()


@contextmanager
def _without_all() -> Iterator[None]:
    with ExitStack() as stack:
        # First, so that a function mode does not see the calls below.
        if _torch.function_modes():
            stack.enter_context(_without_function_modes())
        if _torch.number_of_dispatch_modes():
            for mode in filter(_is_ours, stack.enter_context(_torch.without_dispatch_modes())):
                stack.enter_context(_torch.dispatch_mode(mode))
        if _torch.is_transforming():
            stack.enter_context(_torch.without_transforms())
        if _torch.tracing_state() is not None:
            stack.callback(_torch.set_tracing_state, _torch.tracing_state())
            _torch.set_tracing_state(None)
        for device in filter(torch.is_autocast_enabled, AUTOCASTING):
            stack.enter_context(torch.autocast(device, enabled=False))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
        yield


@contextmanager
def _without_function_modes() -> Iterator[None]:
    modes, default = _torch.take_function_modes(), _torch.default_device_mode()
    kept = [mode for mode in modes if mode is default or _is_ours(mode)]
    _torch.put_function_modes(kept)
    try:
        yield
    finally:
        now = _torch.take_function_modes()
        # A block that ends inside removes its mode from the bottom of the stack.
        _torch.put_function_modes(modes if now == kept else [*now, *(mode for mode in modes if mode not in kept)])


def _is_ours(mode: object) -> bool:
    return type(mode).__module__.partition(".")[0] == __name__.partition(".")[0]
