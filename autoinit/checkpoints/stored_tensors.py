"""One tensor of a file: its shape and dtype now, its values when they are asked for."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from .source import Source


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Where the values of a tensor lie in a file.

    Args:
        start: Beginning of its storage, in bytes from the beginning of the file.
        nbytes: Size of its storage, which other tensors may share.
        offset: Beginning of the tensor in its storage, in elements.
        stride: Strides, in elements.
    """

    start: int
    nbytes: int
    offset: int
    stride: tuple[int, ...]

    @classmethod
    def contiguous(cls, start: int, shape: Sequence[int], dtype: torch.dtype) -> Extent:
        """A storage that holds one tensor, row by row."""
        strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
        return cls(start=start, nbytes=prod(shape) * dtype.itemsize, offset=0, stride=tuple(strides))

    def fits(self, shape: Sequence[int], dtype: torch.dtype, file_size: int) -> bool:
        """Whether all that a tensor of this shape refers to lies in its storage, and that in the file."""
        if self.start < 0 or self.nbytes < 0 or self.start + self.nbytes > file_size:
            return False
        if 0 in shape:
            return True
        last = self.offset + sum((length - 1) * step for length, step in zip(shape, self.stride, strict=True))
        return self.offset >= 0 and min(self.stride, default=0) >= 0 and (last + 1) * dtype.itemsize <= self.nbytes


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor of a file, without its values.

    Args:
        source: The file.
        name: Its name in the file.
        shape: Its shape.
        dtype: Its dtype.
        extent: Where its values lie; None if only the file's own reader can make them.
    """

    source: Source
    name: str
    shape: torch.Size
    dtype: torch.dtype
    extent: Extent | None


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The tensors of a file.

    Args:
        tensors: By the names that they have in the file, in its order.
        versions: Metadata of each module (its version), by the module's name.
    """

    tensors: Mapping[str, StoredTensor]
    versions: Mapping[str, dict[str, Any]]


def mapped(stored: StoredTensor, extent: Extent) -> Tensor:
    """A tensor whose values are read from the file when they are looked at, and freed with the tensor.

    Every call maps its own stretch of the file. The pages of a mapping count as memory of the process from when they
    are first looked at until it ends, so a mapping that all tensors shared would grow to the size of the file; and
    the system refuses one that is larger than its memory, whatever is looked at.
    """
    if 0 in stored.shape:
        return torch.empty(stored.shape, dtype=stored.dtype, device="cpu")
    before = extent.start % mmap.ALLOCATIONGRANULARITY
    with open(stored.source.path, "rb") as file:
        # A copy is private: writing to the tensor does not write to the file.
        stretch = mmap.mmap(
            file.fileno(), before + extent.nbytes, access=mmap.ACCESS_COPY, offset=extent.start - before
        )
    storage = torch.frombuffer(stretch, dtype=torch.uint8, count=extent.nbytes, offset=before).untyped_storage()
    return torch.empty(0, dtype=stored.dtype, device="cpu").set_(storage, extent.offset, stored.shape, extent.stride)
