"""Pieces of memory that a block saw made, and the writes to each of them in order."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from .. import _torch
from .content import Content, computed

SMALL = 1 << 14
"""Memory of fewer bytes is compared by value at the end of a block; of larger memory, uses of its address are seen."""
MOST_WRITES = 16
"""So many partial writes to one piece of memory are remembered one by one, and small memory is so often compared."""


UNWRITTEN = Content("unwritten")
"""What part of a tensor holds that was copied from memory to which nothing had been written."""


class Region(NamedTuple):
    """Which elements of a storage a tensor has, in which order; in bytes.

    Args:
        start: of the first element.
        end: past the last one.
        layout: sizes and strides without axes of one element; None where the elements follow one another.
    """

    start: int
    end: int
    layout: tuple[tuple[int, int], ...] | None

    @classmethod
    def of(cls, tensor: Tensor) -> Region:
        """The region of a strided tensor.

        Example:
            >>> import torch
            >>> Region.of(torch.zeros(4, 4)[1:3])
            Region(start=16, end=48, layout=None)
            >>> Region.of(torch.zeros(4, 4)[1:3, :2])
            Region(start=16, end=40, layout=((2, 16), (2, 4)))
        """
        width, count = tensor.element_size(), tensor.numel()
        start = int(tensor.storage_offset()) * width
        if tensor.is_contiguous() or not count:
            return cls(start, start + count * width, None)
        strides = zip(tensor.shape, tensor.stride(), strict=True)
        axes = tuple((int(n), int(step) * width) for n, step in strides if n > 1)
        return cls(start, start + sum((n - 1) * step for n, step in axes) + width, axes)

    def covers(self, other: Region) -> bool:
        """Whether nothing of another region is left out.

        Example:
            >>> import torch
            >>> matrix = torch.zeros(4, 4)
            >>> every_other = Region.of(matrix[::2])
            >>> every_other.covers(Region.of(matrix[2])), every_other.covers(Region.of(matrix[1]))
            (True, False)
        """
        if self == other:
            return True
        run, axes = self._runs()
        offset = other.start - self.start
        for size, step in axes:
            offset -= step * min(offset // step, size - 1)
        return offset >= 0 and offset + other.end - other.start <= run

    def moved(self, by: int) -> Region:
        """The same elements, so many bytes further on."""
        return Region(self.start + by, self.end + by, self.layout)

    def meets(self, other: Region) -> bool:
        """Whether two regions may have an element in common."""
        return self.start < other.end and other.start < self.end

    def _runs(self) -> tuple[int, list[tuple[int, int]]]:
        """The bytes that follow one another without a gap, and the axes along which there are such, largest first."""
        axes = sorted((axis for axis in self.layout or () if axis[1]), key=lambda axis: axis[1])
        run = self.end - self.start - sum((size - 1) * step for size, step in axes)
        while axes and axes[0][1] == run:
            run *= axes.pop(0)[0]
        return run, axes[::-1]


class Write(NamedTuple):
    """One write to a piece of memory."""

    region: Region
    content: Content


Values: TypeAlias = Content | Sequence[Write] | None
"""What a region holds: the content of one write, or of several to its parts; None if nothing was written to it."""


class Memory:
    """One storage that was made in the block, with what was written to it.

    Args:
        tensor: has the storage. Only a weak reference is kept, so that what a constructor throws away is freed.
        values: what it held when it was first seen.
    """

    __slots__ = (
        "_checksum",
        "exposed",
        "is_foreign",
        "is_small",
        "key",
        "pending",
        "reference",
        "writes",
        "writes_seen",
    )

    def __init__(self, tensor: Tensor, values: Values = None) -> None:
        storage = tensor.untyped_storage()
        # While the weak reference is there, no other storage comes to have the same address.
        self.reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        self.key: int = self.reference.cdata
        self.is_small = storage.nbytes() < SMALL
        self.writes = _writes(Region(0, storage.nbytes(), None), values) if values is not None else []
        self.writes_seen = 0
        """How often an operator wrote to it; a version counter that is above this was raised by something unseen."""
        self.is_foreign = False
        """Whether it belongs to somebody else, whatever is written there."""
        self.exposed = False
        """Whether code that is not watched may have its address."""
        self.pending = False
        """Whether fills of it have been postponed."""
        self._checksum: int | None = None

    @property
    def is_gone(self) -> bool:
        return bool(self.reference.expired())  # type: ignore[no-untyped-call]

    def write(self, region: Region, values: Values) -> None:
        """Note that an operator wrote a region."""
        self.writes_seen += 1
        left = [write for write in self.writes if not region.covers(write.region)]
        if values is None and any(write.region.meets(region) for write in left):
            values = UNWRITTEN
        if len(left) >= MOST_WRITES:
            whole = Region(min(w.region.start for w in left), max(w.region.end for w in left), None)
            left = [Write(whole, _mixed(left))]
        self.writes = left + _writes(region, values)

    def pieces(self, region: Region) -> list[Write]:
        """What a region holds, write by write in their order; nothing if one of them reaches out of it."""
        found: list[Write] = []
        for write in self.writes:
            if write.region.covers(region):
                found = [Write(region, _part(write, region))]
            elif region.covers(write.region):
                found.append(write)
            elif write.region.meets(region):
                return []
        return found

    def content(self, region: Region) -> Content | None:
        """What a region holds; None if nothing was written there."""
        found: list[Write] = []
        for write in reversed(self.writes):
            if write.region.meets(region):
                if not found and write.region.covers(region) and write.content is UNWRITTEN:
                    return None
                if not found and write.region == region:
                    return write.content
                found.append(write)
                if write.region.covers(region):
                    break
        if not found:
            return None
        if len(found) == 1 and found[0].region.covers(region):
            return _part(found[0], region)
        key = (self.key, self.writes_seen, region)
        parts = found[0].content.parts
        return parts.get(key) or parts.setdefault(key, _mixed(found))

    @property
    def is_compared(self) -> bool:
        """Whether unseen writes are found by value, and not by a version counter."""
        return self._checksum is not None

    def expect_write(self, tensor: Tensor) -> None:
        """Expect the version counter of a tensor to rise when the operator has returned."""
        # What raised it unseen was noted before, or is overwritten.
        self.writes_seen = max(self.writes_seen, _torch.version_of(tensor) + 1)

    def note_state(self, tensor: Tensor) -> None:
        """Take the version counter and the values of a tensor as they are now."""
        self.writes_seen = max(self.writes_seen, _torch.version_of(tensor))
        self.note_values(tensor)

    def note_values(self, tensor: Tensor) -> None:
        """Remember what the memory holds now, as far as that is how unseen writes to it are found."""
        is_compared = self.exposed or (self.is_small and self.writes_seen < MOST_WRITES)
        self._checksum = checksum(tensor) if is_compared and not self.pending else None

    def forget_values(self) -> None:
        """Remember nothing of what the memory holds, because other processes will write to it at some later time."""
        self._checksum = None

    def was_written_unseen(self, tensor: Tensor) -> bool:
        """Whether it holds other bytes than it should, or, for large memory, was written more often than was seen."""
        if self.is_compared:
            return checksum(tensor) != self._checksum
        return _torch.version_of(tensor) > self.writes_seen


def checksum(tensor: Tensor) -> int | None:
    """A checksum of all bytes of a tensor's storage; None where they cannot be read, or only by a copy."""
    storage = tensor.untyped_storage()
    count = storage.nbytes()
    if not tensor.is_cpu or not count:
        return None
    address = storage.data_ptr()
    if count < SMALL:
        return zlib.crc32(ctypes.string_at(address, count))
    return zlib.crc32((ctypes.c_char * count).from_address(address))


def _part(write: Write, region: Region) -> Content:
    """What a write left in a region that it covers."""
    return write.content if write.content is UNWRITTEN else write.content.part(region.moved(-write.region.start))


def _writes(region: Region, values: Values) -> list[Write]:
    """What is written to a region, as writes."""
    if isinstance(values, Content):
        return [Write(region, values)]
    return list(values or ())


def _mixed(writes: Iterable[Write]) -> Content:
    """What several writes to parts of one region have left there."""
    return computed("mixed", (), [write.content for write in writes])
