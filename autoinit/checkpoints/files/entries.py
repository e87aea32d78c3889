"""One tensor of a file: its shape and dtype now, its values when they are asked for."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Where the values of a tensor lie in a file.

    Args:
        start: of its storage, in bytes from the beginning of the file.
        nbytes: of its storage, which other tensors may share.
        offset: of the tensor in its storage, in elements.
        stride: in elements.
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
class Entry:
    """A tensor of a file. Holds no values.

    Args:
        shape: of the tensor.
        dtype: of the tensor.
        extent: where its values lie; None if only the file's own reader can make them.
    """

    shape: torch.Size
    dtype: torch.dtype
    extent: Extent | None


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a file holds.

    Args:
        entries: by the names they have in the file, in its order.
        versions: what was noted of each module beside its tensors, by the module's name.
    """

    entries: Mapping[str, Entry]
    versions: Mapping[str, dict[str, Any]]


def mapped(path: str, entry: Entry, extent: Extent) -> Tensor:
    """A tensor whose values are read from the file where they are looked at, and let go of with the tensor.

    Every call maps its own stretch of the file. The pages of a mapping count as memory of the process from when they
    are first looked at until it ends, so a mapping that all tensors shared would grow to the size of the file; and
    the system refuses one that is larger than its memory, whatever is looked at.
    """
    if 0 in entry.shape:
        return torch.empty(entry.shape, dtype=entry.dtype, device="cpu")
    before = extent.start % mmap.ALLOCATIONGRANULARITY
    with open(path, "rb") as file:
        # A copy is private: who writes to the tensor writes to no file.
        stretch = mmap.mmap(
            file.fileno(), before + extent.nbytes, access=mmap.ACCESS_COPY, offset=extent.start - before
        )
    storage = torch.frombuffer(stretch, dtype=torch.uint8, count=extent.nbytes, offset=before).untyped_storage()
    return torch.empty(0, dtype=entry.dtype, device="cpu").set_(storage, extent.offset, entry.shape, extent.stride)
