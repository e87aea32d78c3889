"""A box of a larger tensor, such as the shard that one rank has of it, and which elements of the whole it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Region:
    """A box of a tensor.

    Args:
        shape: of the whole tensor.
        offset: of the box's first element, along each axis.
        size: of the box, along each axis.

    Example:
        >>> region = Region(shape=(4, 6), offset=(1, 4), size=(2, 2))
        >>> region.indices(0, 4).tolist(), region.run
        ([10, 11, 16, 17], None)
        >>> Region(shape=(4, 6), offset=(2, 0), size=(2, 6)).run
        12
    """

    shape: tuple[int, ...]
    offset: tuple[int, ...]
    size: tuple[int, ...]

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """How far neighbours along each axis are apart in the whole, in row-major order."""
        return tuple(math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))

    @cached_property
    def run(self) -> int | None:
        """Index in the whole of the first element, if the box is one run of elements without a gap."""
        axes = range(len(self.shape))
        first = next((axis for axis in axes if self.size[axis] != 1), len(self.shape))
        if any(self.size[axis] != self.shape[axis] for axis in axes if axis > first):
            return None
        return sum(offset * stride for offset, stride in zip(self.offset, self.strides, strict=True))

    def indices(self, start: int, count: int, device: torch.device | None = None) -> Tensor:
        """The indices in the whole of the box's elements `start` to `start + count`, both in row-major order."""
        place = torch.arange(start, start + count, dtype=torch.int64, device=device)
        found = torch.zeros_like(place)
        for axis in reversed(range(len(self.shape))):
            along = place % self.size[axis]
            found.add_(along.add_(self.offset[axis]), alpha=self.strides[axis])
            place.div_(self.size[axis], rounding_mode="floor")
        return found

    def of(self, whole: Tensor) -> Tensor:
        """The box as a view of the whole tensor."""
        for axis, (offset, size) in enumerate(zip(self.offset, self.size, strict=True)):
            whole = whole.narrow(axis, offset, size)
        return whole
