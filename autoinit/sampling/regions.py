"""Regions of a larger tensor, such as the shard of one rank: which elements of the whole it holds, and where."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor


class Run(NamedTuple):
    """Consecutive positions along one axis.

    Args:
        start: First position in the whole tensor.
        at: First position in the tensor that holds the region.
        size: Number of positions.
    """

    start: int
    at: int
    size: int


@dataclass(frozen=True, kw_only=True)
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
        return cls(shape=tuple(shape), runs=tuple(runs))

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Distance of neighbours along each axis in the whole tensor, in row-major order."""
        return tuple(math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))

    @cached_property
    def size(self) -> tuple[int, ...]:
        """Shape of the region."""
        return tuple(sum(run.size for run in runs) for runs in self.runs)

    def select(self, whole: Tensor) -> Tensor:
        """The region of a whole tensor: a view if there is one run along each axis, otherwise a copy."""
        for axis, runs in enumerate(self.runs):
            pieces = [whole.narrow(axis, run.start, run.size) for run in runs]
            if len(pieces) > 1:
                whole = torch.cat(pieces, axis)
            else:
                whole = pieces[0] if pieces else whole.narrow(axis, 0, 0)
        return whole

    def put(self, whole: Tensor, held: Tensor) -> None:
        """Copy what a tensor holds of the region into the whole tensor."""
        for along in itertools.product(*self.runs):
            to, of = whole, held
            for axis, run in enumerate(along):
                to, of = to.narrow(axis, run.start, run.size), of.narrow(axis, run.at, run.size)
            to.copy_(of)

    def part(self, axis: int, repeats: int, start: int, size: int) -> Region:
        """What this region holds of one part of the whole tensor.

        Args:
            axis: The axis that is split: into `repeats` equal pieces, of each of which the part has a range.
            repeats: Number of those pieces.
            start: First position of the part in each piece.
            size: Number of positions of the part in each piece.

        Example:
            >>> Region.of_ranges((6,), [[range(2, 6)]]).part(0, 2, 1, 2).runs
            ((Run(start=1, at=0, size=1), Run(start=2, at=2, size=2)),)
        """
        length = self.shape[axis] // repeats
        runs = []
        for run in self.runs[axis]:
            for piece in range(run.start // length, -(-(run.start + run.size) // length)):
                first = piece * length + start
                low, high = max(run.start, first), min(run.start + run.size, first + size)
                if low < high:
                    runs.append(Run(piece * size + low - first, run.at + low - run.start, high - low))
        shape = (*self.shape[:axis], repeats * size, *self.shape[axis + 1 :])
        return replace(self, shape=shape, runs=(*self.runs[:axis], tuple(runs), *self.runs[axis + 1 :]))

    def meets(self, first: int, last: int) -> bool:
        """Whether the region may hold elements between two corners, given by their row-major indices in the whole."""
        for stride, size, runs in zip(self.strides, self.shape, self.runs, strict=True):
            low, high = first // stride % size, last // stride % size
            if not any(run.start <= high and low < run.start + run.size for run in runs):
                return False
        return True

    def blocks(self, held: Tensor) -> Iterator[tuple[Tensor, int, tuple[int, ...]]]:
        """Views that tile what a tensor holds of the region.

        Each comes with the row-major index of its first element in the whole tensor, and how much this index grows
        along each axis of the view.
        """
        for along in itertools.product(*map(progressions, self.runs)):
            view, first, steps = held, 0, []
            # From the last axis on, so that the numbers of earlier axes stay.
            for axis, stride in reversed(tuple(enumerate(self.strides))):
                run, count, step, step_at = along[axis]
                view = view.narrow(axis, run.at, (count - 1) * step_at + run.size)
                first += run.start * stride
                steps.append(stride)
                if count > 1:
                    view = view.unfold(axis, run.size, step_at).movedim(-1, axis + 1)
                    steps.append(step * stride)
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
