"""Regions of a larger tensor, such as the shard of one rank: which elements of the whole it holds, and where."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Increment of the row-major index along each axis."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


class Run(NamedTuple):
    """Consecutive positions along one axis, from `start` in the whole tensor, and `at` in the one with the region."""

    start: int
    at: int
    size: int


@dataclass(frozen=True)
class Region:
    """Elements of a tensor that some runs along each axis select.

    Args:
        shape: Shape of the whole tensor.
        runs: Runs along each axis, in rising order.

    Example:
        >>> region = Region.of_ranges((4, 6), [[range(1, 3)], [range(0, 1), range(4, 6)]])
        >>> region.size
        (2, 3)
        >>> region.select(torch.arange(24).view(4, 6)).tolist()
        [[6, 10, 11], [12, 16, 17]]
    """

    shape: tuple[int, ...]
    runs: tuple[tuple[Run, ...], ...]

    @classmethod
    def of_ranges(cls, shape: Sequence[int], ranges: Sequence[Sequence[range]]) -> Region:
        """The region that holds these positions of each axis, side by side."""
        runs = []
        for along in (list(filter(None, each)) for each in ranges):
            starts = itertools.accumulate(map(len, along), initial=0)
            runs.append(tuple(Run(each.start, at, len(each)) for each, at in zip(along, starts, strict=False)))
        return cls(tuple(shape), tuple(runs))

    @cached_property
    def size(self) -> tuple[int, ...]:
        """Shape of the region."""
        return tuple(sum(run.size for run in runs) for runs in self.runs)

    def select(self, whole: Tensor) -> Tensor:
        """Copy the region of a whole, contiguous tensor."""
        held = torch.empty(self.size, dtype=whole.dtype, device=whole.device)
        for view, first, steps in self.blocks(held):
            view.copy_(whole.as_strided(view.shape, steps, first))
        return held

    def put(self, whole: Tensor, held: Tensor) -> None:
        """Copy a tensor that holds the region into the whole, contiguous tensor."""
        for view, first, steps in self.blocks(held):
            whole.as_strided(view.shape, steps, first).copy_(view)

    def part(self, axis: int, repeats: int, start: int, size: int) -> Region:
        """The region of a part of the whole tensor: of `size` positions from `start` in each of `repeats` equal pieces.

        Example:
            >>> Region.of_ranges((6,), [[range(2, 6)]]).part(0, 2, 1, 2).runs
            ((Run(start=1, at=0, size=1), Run(start=2, at=2, size=2)),)
        """
        length = self.shape[axis] // repeats
        along = []
        for run, piece in itertools.product(self.runs[axis], range(repeats)):
            first = piece * length + start
            low, high = max(run.start, first), min(run.start + run.size, first + size)
            if low < high:
                along.append(Run(piece * size + low - first, run.at + low - run.start, high - low))
        shape, runs = list(self.shape), list(self.runs)
        shape[axis], runs[axis] = repeats * size, tuple(along)
        return Region(tuple(shape), tuple(runs))

    def meets(self, first: int, last: int) -> bool:
        """True if the region may hold elements between two corners, given by their row-major indices in the whole."""
        for stride, size, runs in zip(row_major(self.shape), self.shape, self.runs, strict=True):
            low, high = first // stride % size, last // stride % size
            if not any(run.start <= high and low < run.start + run.size for run in runs):
                return False
        return True

    def blocks(self, held: Tensor) -> Iterator[tuple[Tensor, int, tuple[int, ...]]]:
        """Views that tile a tensor that holds the region.

        Each comes with the row-major index of its first element in the whole, and the increment along each axis.
        """
        strides = row_major(self.shape)
        for along in itertools.product(*map(progressions, self.runs)):
            view, first, steps = held, 0, []
            # From the last axis on, so that the numbers of earlier axes stay.
            for axis in reversed(range(len(strides))):
                run, count, step, step_at = along[axis]
                view = view.narrow(axis, run.at, (count - 1) * step_at + run.size)
                first += run.start * strides[axis]
                steps.append(strides[axis])
                if count > 1:
                    view = view.unfold(axis, run.size, step_at).movedim(-1, axis + 1)
                    steps.append(step * strides[axis])
            yield view, first, tuple(reversed(steps))


def progressions(runs: Sequence[Run]) -> Iterator[tuple[Run, int, int, int]]:
    """Merge equal runs at equal distances into (first run, number, distance in the whole, distance in the part).

    Example:
        >>> list(progressions([Run(0, 0, 2), Run(8, 2, 2), Run(16, 4, 2), Run(24, 6, 1)]))
        [(Run(start=0, at=0, size=2), 3, 8, 2), (Run(start=24, at=6, size=1), 1, 0, 0)]
    """
    index = 0
    while index < len(runs):
        first, count, step, step_at = runs[index], 1, 0, 0
        for run in runs[index + 1 :]:
            if count == 1:
                step, step_at = run.start - first.start, run.at - first.at
            if run != (first.start + count * step, first.at + count * step_at, first.size):
                break
            count += 1
        yield (first, count, step, step_at) if count > 1 else (first, 1, 0, 0)
        index += count
