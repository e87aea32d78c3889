"""Which tensors a piece of code writes to, `.data` and views included."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .sharding import local_of


class WriteRecorder(TorchDispatchMode):
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
        self._written: dict[int, set[tuple[int, int]]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        schema = func._schema  # type: ignore[attr-defined]
        if schema.is_mutable:
            for index, argument in enumerate(schema.arguments):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    value = args[index] if index < len(args) else kwargs.get(argument.name)
                    for tensor in value if isinstance(value, (list, tuple)) else (value,):
                        if isinstance(tensor, Tensor):
                            self._written.setdefault(storage_of(tensor), set()).add(extent_of(tensor))
        return func(*args, **kwargs)

    def wrote(self, tensor: Tensor) -> bool:
        """Whether anything was written to the tensor's memory, or it was given other memory (`param.data = ...`)."""
        if self._before.get(id(tensor), place_of(tensor)) != place_of(tensor):
            return True
        start, end = extent_of(tensor)
        return any(first < end and start < last for first, last in self._written.get(storage_of(tensor), ()))


def storage_of(tensor: Tensor) -> int:
    """What tensors that share memory have in common."""
    return int(local_of(tensor).untyped_storage()._cdata)


def place_of(tensor: Tensor) -> tuple[int, int]:
    """Which memory a tensor has, and where in it."""
    return storage_of(tensor), int(local_of(tensor).storage_offset())


def extent_of(tensor: Tensor) -> tuple[int, int]:
    """Where in its storage, in bytes, the elements of a tensor lie: the first, and past the last.

    Example:
        >>> import torch
        >>> extent_of(torch.zeros(4, 4)[1:3, :2])
        (16, 40)
    """
    tensor = local_of(tensor)
    start = int(tensor.storage_offset())
    span = int(sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)))
    width = tensor.element_size()
    return start * width, (start + span + 1) * width if tensor.numel() else start * width
