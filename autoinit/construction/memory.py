"""Storages that were made in a block, the writes to each in order, and its postponed fills."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from .. import _torch
from .content import Content, computed, outside
from .operators import Operator

SMALL = 1 << 14
"""Storages of fewer bytes are compared by a checksum; for larger ones, access to the address is watched."""
MOST_WRITES = 16  # Most writes to parts of one storage that are kept apart, and most comparisons of a small storage.
UNSEEN = "written by code that autoinit does not see"
UNWRITTEN = Content("unwritten")  # Content of a region that was copied from memory without values.


class Region(NamedTuple):
    """Which bytes of a storage a tensor has, from the first to past the last, and in which order."""

    start: int
    end: int
    layout: tuple[tuple[int, int], ...] | None = None
    """Sizes and strides in bytes, without axes of one element; None for elements that follow one another."""

    @classmethod
    def of(cls, tensor: Tensor) -> Region:
        """The region of a strided tensor.

        Example:
            >>> Region.of(torch.zeros(4, 4)[1:3, :2])
            Region(start=16, end=40, layout=((2, 16), (2, 4)))
        """
        width, count = tensor.element_size(), tensor.numel()
        start = int(tensor.storage_offset()) * width
        if tensor.is_contiguous() or not count:
            return cls(start, start + count * width)
        strides = zip(tensor.shape, tensor.stride(), strict=True)
        axes = tuple((int(n), int(step) * width) for n, step in strides if n > 1)
        return cls(start, start + sum((n - 1) * step for n, step in axes) + width, axes)

    def covers(self, other: Region) -> bool:
        """True if this region has every element of another."""
        if self == other:
            return True
        # Join axes without gaps into one run of bytes, then step along the others to where `other` begins.
        axes = sorted((axis for axis in self.layout or () if axis[1]), key=lambda axis: axis[1])
        run = self.end - self.start - sum((size - 1) * step for size, step in axes)
        while axes and axes[0][1] == run:
            run *= axes.pop(0)[0]
        offset = other.start - self.start
        for size, step in reversed(axes):
            offset -= step * min(offset // step, size - 1)
        return offset >= 0 and offset + other.end - other.start <= run

    def moved(self, by: int) -> Region:
        """The region moved by a number of bytes."""
        return Region(self.start + by, self.end + by, self.layout)

    def meets(self, other: Region) -> bool:
        """True if two regions may overlap."""
        return self.start < other.end and other.start < self.end


class Write(NamedTuple):
    """One write to a storage."""

    region: Region
    content: Content

    def part(self, region: Region) -> Content:
        """Content of a region that this write covers."""
        if region == self.region or self.content is UNWRITTEN:
            return self.content
        return self.content.part(region.moved(-self.region.start))


Values: TypeAlias = Content | Sequence[Write] | None
"""Content of a region: of one write, or of several writes to its parts; None if nothing was written."""


NO_TENSOR = torch.empty(1, device="cpu").detach()
NO_STORAGE = NO_TENSOR.untyped_storage()
NO_FILLS: dict[int, Fill] = {}
_USES = _torch.uses_of(NO_STORAGE)  # References that torch counts for a storage to which only a `Memory` refers.


@dataclass(eq=False, slots=True)
class Memory:
    """One storage that was made in the block."""

    key: int
    reference: StorageWeakRef  # While it is there, no other storage gets the same address, which is the key.
    is_small: bool
    exposed: bool = False  # Code that is not watched may have its address.
    is_foreign: bool = False  # Other code owns the storage, so everything written to it is data.
    writes: list[Write] = field(default_factory=list)
    writes_seen: int = 0  # Number of writes by operators; a higher version counter shows an unobserved write.
    mixed: dict[Region, Content] | None = None  # Contents of regions that several writes share; cleared at each write.
    checksum: int | None = None  # Checksum of all bytes; None if unobserved writes are found by the version counter.
    fills: dict[int, Fill] = field(default_factory=lambda: NO_FILLS)
    """Postponed fills of it, by number. While there are any, the next three are set."""
    storage: torch.UntypedStorage = NO_STORAGE  # Keeps the storage alive.
    witness: Tensor = NO_TENSOR
    """A tensor with that storage and with the version counter of the first tensor that was filled."""
    version_before: int = 0  # That counter before the first fill.

    @classmethod
    def of(cls, tensor: Tensor) -> Memory:
        """The memory of a tensor that no memory is known for."""
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        return cls(reference.cdata, reference, storage.nbytes() < SMALL)

    def write(self, region: Region, values: Values) -> None:
        """Record a write of an operator to a region."""
        self.writes_seen += 1
        self.mixed = None
        left = [write for write in self.writes if not region.covers(write.region)]
        if values is None and any(write.region.meets(region) for write in left):
            values = UNWRITTEN
        if len(left) >= MOST_WRITES:
            whole = Region(min(w.region.start for w in left), max(w.region.end for w in left))
            left = [Write(whole, computed("mixed", (), [write.content for write in left]))]
        self.writes = [*left, Write(region, values)] if isinstance(values, Content) else [*left, *(values or ())]

    def pieces(self, region: Region) -> list[Write]:
        """The writes to a region in order; empty if one of them lies only partly in the region."""
        found: list[Write] = []
        for write in self.writes:
            if write.region.covers(region):
                found = [Write(region, write.part(region))]
            elif region.covers(write.region):
                found.append(write)
            elif write.region.meets(region):
                return []
        return found

    def content(self, region: Region) -> Content | None:
        """Content of a region; None if nothing was written there."""
        found: list[Content] = []
        for write in reversed(self.writes):
            if write.region.meets(region):
                found.append(write.content)
                if write.region.covers(region):
                    if len(found) == 1:
                        return None if write.content is UNWRITTEN else write.part(region)
                    break
        if not found:
            return None
        if self.mixed is None:
            self.mixed = {}
        if region not in self.mixed:
            self.mixed[region] = computed("mixed", (), found)
        return self.mixed[region]

    def check(self, tensor: Tensor) -> None:
        """Record an unobserved write, which shows as other bytes or a higher version counter."""
        if self.checksum is not None:
            was_written = checksum(tensor) != self.checksum
        else:
            was_written = _torch.version_of(tensor) > self.writes_seen
        if was_written:
            self.write(Region.of(tensor), outside(UNSEEN))
            self.accept(tensor)

    def expect_write(self, tensor: Tensor) -> None:
        """Expect the version counter of a tensor to rise when the operator has returned."""
        self.writes_seen = max(self.writes_seen, _torch.version_of(tensor) + 1)

    def accept(self, tensor: Tensor, rise: int = 0) -> None:
        """Take a tensor's bytes and version counter as seen; the counter will still `rise`."""
        self.writes_seen = max(self.writes_seen, _torch.version_of(tensor) + rise)
        is_compared = self.exposed or (self.is_small and self.writes_seen < MOST_WRITES)
        self.checksum = checksum(tensor) if is_compared and not self.fills else None

    @property
    def is_gone(self) -> bool:
        """True if the storage was freed, or only this object keeps it alive."""
        return _torch.uses_of(self.storage) <= _USES if self.fills else bool(self.reference.expired())  # type: ignore[no-untyped-call]


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


@dataclass(eq=False, slots=True)
class Fill:
    """One postponed call of an operator that fills a tensor from numbers."""

    operator: Operator
    memory: Memory
    region: Region
    layout: tuple[int, torch.Size, tuple[int, ...]]  # Offset, sizes and strides in elements, to make the tensor again.
    dtype: torch.dtype
    device: torch.device
    numbers: tuple[Any, ...]
    named: Mapping[str, Any]
    is_void: bool = False  # It only has to advance the generator: its values were overwritten, or the storage is gone.
    number: int = -1  # Its place in program order.

    def lies_in(self, regions: Mapping[int, Sequence[Region]]) -> bool:
        """True if one of some regions, given by storage, covers it."""
        return any(region.covers(self.region) for region in regions.get(self.memory.key, ()))

    def apply(self, storage: torch.UntypedStorage | None) -> None:
        """Fill a storage; without one, only advance the generator."""
        offset, size, stride = self.layout
        if storage is None:
            # In the same layout: how many numbers torch draws from a generator depends on it.
            tensor = torch.empty_strided(size, stride, dtype=self.dtype, device=self.device)
        else:
            tensor = torch.empty(0, dtype=self.dtype, device=self.device).set_(storage, offset, size, stride)
        self.operator.function(tensor, *self.numbers, **self.named)
