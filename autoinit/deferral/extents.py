"""Stretches of memory: which bytes of a storage a tensor has."""

from __future__ import annotations

from torch import Tensor

from .guards import storage_of

Extents = dict[int, list[tuple[int, int]]]
"""Pieces of memory: by storage, from where to where in bytes."""


def put_extent(extents: Extents, tensor: Tensor) -> None:
    """Add the memory of a tensor."""
    extents.setdefault(storage_of(tensor), []).append(extent_of(tensor))


def lies_in(tensor: Tensor, extents: Extents) -> bool:
    """Whether the memory of a tensor is part of some other.

    Example:
        >>> import torch
        >>> memory, extents = torch.zeros(10), {}
        >>> put_extent(extents, memory[:6])
        >>> lies_in(memory[2:4], extents), lies_in(memory[4:8], extents)
        (True, False)
    """
    first, last = extent_of(tensor)
    return any(start <= first and last <= end for start, end in extents.get(storage_of(tensor), ()))


def extent_of(tensor: Tensor) -> tuple[int, int]:
    """Where in its storage, in bytes, the elements of a tensor lie: the first, and past the last."""
    start = int(tensor.storage_offset())
    span = int(sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)))
    width = tensor.element_size()
    return start * width, (start + span + 1) * width if tensor.numel() else start * width
