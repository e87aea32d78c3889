"""Which tensors a piece of code writes to, `.data` and views included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from .. import _torch
from ..construction import Call, Region, operator_of
from .sharding import local_of


class WriteRecorder(_torch.TorchDispatchMode):
    """Notes the memory of every tensor that an operator writes to while it is entered.

    Args:
        watched: tensors of which it is also to be told whether they were given other memory.

    Version counters would miss what goes through `.data`, and comparing values would miss a weight that is set to
    what it was.

    Example:
        >>> import torch
        >>> first, second = torch.zeros(2), torch.zeros(2)
        >>> with WriteRecorder() as recorder:
        ...     first.data[0] = 1
        >>> recorder.wrote(first), recorder.wrote(second)
        (True, False)
    """

    def __init__(self, watched: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._before = {id(tensor): place_of(tensor) for tensor in watched}
        self._written: dict[int, set[Region]] = {}

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        operator = operator_of(func)
        if operator.written:
            for tensor in Call(operator, args, kwargs or {}).written:
                local = local_of(tensor)
                self._written.setdefault(_torch.storage_id(local), set()).add(Region.of(local))
        return func(*args, **(kwargs or {}))

    def wrote(self, tensor: Tensor) -> bool:
        """Whether anything was written to the tensor's memory, or it was given other memory (`param.data = ...`)."""
        if self._before.get(id(tensor), place_of(tensor)) != place_of(tensor):
            return True
        local = local_of(tensor)
        region = Region.of(local)
        return any(written.meets(region) for written in self._written.get(_torch.storage_id(local), ()))


def place_of(tensor: Tensor) -> tuple[int, int]:
    """Which memory a tensor has, and where in it."""
    local = local_of(tensor)
    return _torch.storage_id(local), int(local.storage_offset())
