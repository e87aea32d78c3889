"""Our modes on torch's stacks: below those of the user, and taken off wherever they lie."""

from __future__ import annotations

from torch.overrides import TorchFunctionMode

from .. import _torch


def push_function_mode(mode: TorchFunctionMode) -> None:
    """Insert a mode at the bottom of the stack, so that the modes above it can be left before it.

    Only the default device (`torch.set_default_device`) keeps its place: torch looks for it at the very bottom.
    """
    modes, default = _torch.take_function_modes(), _torch.default_device_mode()
    at = 1 if modes and modes[0] is default else 0
    _torch.put_function_modes([*modes[:at], mode, *modes[at:]])


def default_device_is_busy() -> bool:
    """Whether the mode of `torch.set_default_device` is off the stack, because it is handling a call."""
    return _torch.default_device_mode() is not None and not _torch.has_default_device_mode_on_stack()


def remove_function_mode(mode: TorchFunctionMode) -> None:
    """Take a mode off the stack, wherever it lies; nothing happens if it is not there."""
    if _torch.number_of_function_modes():
        _torch.put_function_modes([each for each in _torch.take_function_modes() if each is not mode])


def push_dispatch_mode(mode: _torch.TorchDispatchMode) -> None:
    """Insert a mode at the bottom of the stack, once."""
    modes = [each for each in _torch.take_dispatch_modes() if each is not mode]
    _torch.put_dispatch_modes([mode, *modes])


def remove_dispatch_mode(mode: _torch.TorchDispatchMode) -> None:
    """Take a mode off the stack, wherever it lies; nothing happens if it is not there."""
    if _torch.number_of_dispatch_modes():
        _torch.put_dispatch_modes([each for each in _torch.take_dispatch_modes() if each is not mode])
