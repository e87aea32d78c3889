"""The default generators of devices, and whether what is done on a device now can be done later."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

ACCELERATORS: tuple[tuple[ModuleType, ModuleType], ...] = tuple(
    (module, module.random)
    for module, is_built in ((torch.cuda, torch.version.cuda or torch.version.hip), (torch.xpu, torch.version.xpu))
    if is_built
)
"""The devices of this build of torch that have a generator each; and where their functions for it are defined."""


def of_device(device: torch.device) -> torch.Generator:
    """The default generator of a device on which there are tensors."""
    if device.type == "cpu":
        return torch.default_generator
    generators: Sequence[torch.Generator] = torch.get_device_module(device).default_generators
    return generators[device.index]


def state_of(device: torch.device) -> Tensor:
    """The state of a device's default generator, in memory of the CPU.

    Example:
        >>> state = state_of(torch.device("cpu"))
        >>> _ = torch.rand(3)
        >>> is_same(state, state_of(torch.device("cpu")))
        False
    """
    return of_device(device).get_state()


def set_state(device: torch.device, state: Tensor) -> None:
    """Give a device's default generator a state that `state_of` gave."""
    of_device(device).set_state(state)


def is_same(one: Tensor, other: Tensor) -> bool:
    """Whether two states are the same: asked at each draw, where `torch.equal` is slow."""
    return _bytes(one) == _bytes(other)


def is_in_order(device: torch.device) -> bool:
    """Whether what is done on a device later is done in time: its generator is known, and one stream is used.

    On a stream of the user's, what is done after the block would run beside what the user has put on that stream.

    Example:
        >>> is_in_order(torch.device("cpu")), is_in_order(torch.device("meta"))
        (True, False)
    """
    if device.type == "cpu":
        return True
    module = next((module for module, _ in ACCELERATORS if module.__name__ == f"torch.{device.type}"), None)
    return module is not None and bool(module.current_stream(device) == module.default_stream(device))


def _bytes(state: Tensor) -> bytes:
    return ctypes.string_at(state.data_ptr(), state.numel())
