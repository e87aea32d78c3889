"""One tensor of a file: its shape and dtype now, its values when they are asked for."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .source import Source


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Where the values of a tensor are in a file.

    Args:
        start: First byte of its storage in the file.
        nbytes: Size of its storage, which other tensors may share.
        offset: First element of the tensor in its storage.
        stride: Strides, in elements.
    """

    start: int
    nbytes: int
    offset: int
    stride: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor, start: int) -> Extent:
        """The extent of a meta tensor whose storage begins at a byte of the file."""
        nbytes, offset = tensor.untyped_storage().nbytes(), int(tensor.storage_offset())
        return cls(start=start, nbytes=nbytes, offset=offset, stride=tensor.stride())


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor of a file, without its values; `extent` is None if only the file's own reader can make them."""

    source: Source
    name: str
    shape: torch.Size
    dtype: torch.dtype
    extent: Extent | None

    def map(self, extent: Extent) -> Tensor:
        """A tensor whose values are read from the file when they are looked at, and freed with the tensor.

        Each call maps only the storage of one tensor. The pages of a mapping count as memory of the process from when
        they are first looked at until it ends, so a mapping that all tensors shared would grow to the size of the
        file; and the system refuses a mapping that is larger than its memory.
        """
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self.dtype, device="cpu")
        before = extent.start % mmap.ALLOCATIONGRANULARITY
        length, page = before + extent.nbytes, extent.start - before
        with open(self.source.path, "rb") as file:
            # A copy is private: writing to the tensor does not write to the file.
            mapping = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY, offset=page)
        storage = torch.frombuffer(mapping, dtype=torch.uint8, count=extent.nbytes, offset=before).untyped_storage()
        return torch.empty(0, dtype=self.dtype, device="cpu").set_(storage, extent.offset, self.shape, extent.stride)


class Contents(NamedTuple):
    """Tensors by name, and metadata of each module (its version) by the module's name."""

    tensors: Mapping[str, StoredTensor]
    versions: Mapping[str, dict[str, Any]]
