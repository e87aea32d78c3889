"""The dispatch mode and the function mode of a block, at the bottom of torch's mode stacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .. import _torch


class OperatorMode(_torch.TorchDispatchMode):
    """Sees every operator, whatever calls it.

    Args:
        handle: is given the operator, its arguments and its keyword arguments, and calls it.
    """

    supports_higher_order_operators = True

    def __init__(self, handle: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._handle = handle
        self.is_running = False
        """Whether an operator is being handled."""

    def insert(self) -> None:
        """Insert it at the bottom of the stack, so that the modes above it can be left before it."""
        if not self.is_running:  # torch puts back the mode whose handler is running by itself.
            self.remove()
            _torch.put_dispatch_modes([self, *_torch.take_dispatch_modes()])

    def remove(self) -> None:
        """Take it off the stack, wherever it lies; nothing happens if it is not there."""
        if not self.is_running:
            _torch.put_dispatch_modes([mode for mode in _torch.take_dispatch_modes() if mode is not self])

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # Skipping imports the compiler, which takes a second.

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True  # Else torch would compile nothing within the block, and not afterwards either.

    @_torch.not_compiled
    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        if types and any(map(handles_operators, types)):
            # A subclass of Tensor: the operators that it consists of come here too, unless another mode is asked first.
            return func(*args, **(kwargs or {})) if _torch.number_of_dispatch_modes() else NotImplemented
        before, self.is_running = self.is_running, True
        try:
            return self._handle(func, args, kwargs or {})
        finally:
            self.is_running = before


class FunctionMode(TorchFunctionMode):
    """Sees functions of torch, among them those that read or give away memory without an operator.

    Args:
        handle: is given the function, its arguments and its keyword arguments, and calls it.
    """

    def __init__(self, handle: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self._handle = handle

    def insert(self) -> None:
        """Insert it at the bottom of the stack, so that the modes above it can be left before it.

        Only the default device (`torch.set_default_device`) keeps its place: torch looks for it at the very bottom.
        """
        modes, default = _torch.take_function_modes(), _torch.default_device_mode()
        at = 1 if modes and modes[0] is default else 0
        _torch.put_function_modes([*modes[:at], self, *modes[at:]])

    def remove(self) -> None:
        """Take it off the stack, wherever it lies; nothing happens if it is not there."""
        _torch.put_function_modes([mode for mode in _torch.take_function_modes() if mode is not self])

    @_torch.not_compiled
    def __torch_function__(self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None) -> Any:
        if torch.compiler.is_dynamo_compiling():  # The compiler traces this, too; what it makes of it is watched.
            return func(*args, **(kwargs or {}))
        return self._handle(func, args, kwargs or {})


@lru_cache(maxsize=1024)
def handles_operators(cls: type) -> bool:
    """Whether a subclass of Tensor handles operators itself; parameters do not.

    Example:
        >>> handles_operators(torch.nn.Parameter)
        False
    """
    return cls.__torch_dispatch__ is not Tensor.__torch_dispatch__  # type: ignore[attr-defined]


def default_device_is_busy() -> bool:
    """Whether the mode of `torch.set_default_device` is off the stack, because it is handling a call."""
    default = _torch.default_device_mode()
    return default is not None and default not in _torch.function_modes()
