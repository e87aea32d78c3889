"""What a file holds: its tensors, without their values, and the metadata of its modules."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .source import Source


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor of a file, without its values."""

    source: Source
    name: str
    shape: torch.Size
    dtype: torch.dtype
    start: int | None = None  # First byte of its storage in the file; None if only torch can read its values.
    nbytes: int = 0  # Size of its storage, which other tensors may share.
    offset: int = 0  # Its first element in its storage.
    stride: tuple[int, ...] = ()

    @classmethod
    def of(cls, source: Source, name: str, tensor: Tensor, start: int | None) -> StoredTensor:
        """Describe a tensor whose storage begins at the byte `start` of the file."""
        known: dict[str, Any] = dict(source=source, name=name, shape=tensor.shape, dtype=tensor.dtype)
        if start is not None:
            nbytes, offset = tensor.untyped_storage().nbytes(), int(tensor.storage_offset())
            known.update(start=start, nbytes=nbytes, offset=offset, stride=tensor.stride())
        return cls(**known)

    def map(self, start: int) -> Tensor:
        """A tensor whose values are read from the file when they are looked at, and freed with the tensor.

        Each call maps only the storage of one tensor. The pages of a mapping count as memory of the process from when
        they are first looked at until it ends, so a mapping that all tensors shared would grow to the size of the
        file; and the system refuses a mapping that is larger than its memory.
        """
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self.dtype, device="cpu")
        before = start % mmap.ALLOCATIONGRANULARITY
        with open(self.source.path, "rb") as file:
            # A copy is private: writing to the tensor does not write to the file.
            mapping = mmap.mmap(file.fileno(), before + self.nbytes, access=mmap.ACCESS_COPY, offset=start - before)
        storage = torch.frombuffer(mapping, dtype=torch.uint8, count=self.nbytes, offset=before).untyped_storage()
        return torch.empty(0, dtype=self.dtype, device="cpu").set_(storage, self.offset, self.shape, self.stride)


class Contents(NamedTuple):
    """Tensors by name, and metadata of each module (its version) by the module's name."""

    tensors: Mapping[str, StoredTensor]
    versions: Mapping[str, dict[str, Any]]
