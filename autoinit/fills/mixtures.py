"""Fills of the parts of one tensor: a weight that holds several maps, and an embedding with rows for padding."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..fans import Layout, Part
from ..sampling import Region, Sampler
from .distributions import Constant
from .fill import Elementwise, Fill, KeyOf
from .whole import Custom

STREAMS = 2  # Streams of one map, enough for any fill, so that they do not depend on the fill.

INDEPENDENT = (Elementwise, Constant)  # Fills that can draw any part of a tensor alone.


class Mixture(Fill):
    """Fills of parts of one tensor. Mean, std and CDF are those over all parts, where every fill knows them."""

    @property
    @abstractmethod
    def weighted(self) -> list[tuple[float, Any]]:
        """The fills with the share of the elements that each has."""

    @abstractmethod
    def pieces(self, tensor: Tensor) -> Iterator[tuple[Fill, Tensor]]:
        """Tile a tensor: each piece with its one fill, in the shape that the fill is for."""

    @property
    def is_random(self) -> bool:
        return any(fill.is_random for _, fill in self.weighted)

    @property
    def mean(self) -> float:
        return math.fsum(share * fill.mean for share, fill in self.weighted)

    @property
    def std(self) -> float:
        mean = self.mean
        return math.sqrt(math.fsum(share * (fill.std**2 + (fill.mean - mean) ** 2) for share, fill in self.weighted))

    def cdf(self, x: Tensor) -> Tensor:
        return torch.stack([share * fill.cdf(x) for share, fill in self.weighted]).sum(0)


@dataclass(frozen=True)
class Blocks(Mixture):
    """One fill for each part of a layout: for q, k and v, for every expert, for the groups of a convolution.

    Map number n, counted over all parts, draws from the streams that begin at `2 * n`. A part whose elements are
    independent is drawn at once, from the streams of its first map.
    """

    layout: Layout
    parts: tuple[Part, ...]
    fills: tuple[Fill, ...]

    @property
    def weighted(self) -> list[tuple[float, Fill]]:
        sizes = [part.copies * math.prod(part.shape) for part in self.parts]
        return [(size / sum(sizes), fill) for size, fill in zip(sizes, self.fills, strict=True)]

    def pieces(self, tensor: Tensor) -> Iterator[tuple[Fill, Tensor]]:
        for _, part, fill, view in self._tiles(tensor):
            yield fill, view if isinstance(fill, INDEPENDENT) else view.reshape(part.shape)

    def _tiles(self, tensor: Tensor) -> Iterator[tuple[int, Part, Fill, Tensor]]:
        """The views of a tensor that are written at once: number of the first map, part, fill, view."""
        number = 0
        for part, fill in zip(self.parts, self.fills, strict=True):
            if isinstance(fill, INDEPENDENT):
                yield number, part, fill, self.layout.region(tensor, part)
            else:
                for at, view in enumerate(self.layout.maps(tensor, part), number):
                    yield at, part, fill, view
            number += part.copies

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        for number, part, fill, view in self._tiles(tensor):
            if isinstance(fill, INDEPENDENT):
                fill.write(view, _from(number, key_of), sampler)
            else:
                _write_map(fill, view, part, _from(number, key_of), sampler)

    def write_region(self, tensor: Tensor, region: Region, key_of: KeyOf, sampler: Sampler) -> None:
        is_drawn_in_parts = all(isinstance(fill, INDEPENDENT) for fill in self.fills)
        device = torch.device("meta") if is_drawn_in_parts else tensor.device
        whole = torch.empty(region.shape, dtype=tensor.dtype, device=device)
        tiles = list(self._tiles(whole))
        # Maps that are computed whole come first, if this rank holds a part of them; the other fills are written after.
        for number, part, fill, view in tiles:
            if not isinstance(fill, INDEPENDENT) and region.meets(*_corners(view)):
                _write_map(fill, view, part, _from(number, key_of), sampler)
        if not is_drawn_in_parts:
            tensor.copy_(region.select(whole))
        for number, part, fill, _ in tiles:
            if isinstance(fill, INDEPENDENT):
                held = region
                if part.size:
                    axis = self.layout.roles(region.shape).index("out")
                    held = region.part(axis, self.layout.repeats, part.start, part.size)
                fill.write_region(tensor, held, _from(number, key_of), sampler)

    def __str__(self) -> str:
        if all(fill == self.fills[0] for fill in self.fills):
            return f"{sum(part.copies for part in self.parts)} x {self.fills[0]}"
        return ", ".join(
            f"[{part.start}:{part.start + part.size}] {fill}" for part, fill in zip(self.parts, self.fills, strict=True)
        )


def _from(number: int, key_of: KeyOf) -> KeyOf:
    return lambda stream: key_of(STREAMS * number + stream)


def _corners(view: Tensor) -> tuple[int, int]:
    """The places in memory of a view's first and last element."""
    first = int(view.storage_offset())
    return first, first + sum((size - 1) * step for size, step in zip(view.shape, view.stride(), strict=True))


def _write_map(fill: Fill, view: Tensor, part: Part, key_of: KeyOf, sampler: Sampler) -> None:
    """Fill a map as if its `out` axes were one, and its `in` axes; a copy of it where no view can merge them."""
    merged = view.reshape(part.shape)
    fill.write(merged, key_of, sampler)
    if merged.data_ptr() != view.data_ptr():
        view.copy_(merged.view(view.shape))


@dataclass(frozen=True)
class Padded(Mixture):
    """Another fill, and zeros in the rows that embeddings have for padding (`padding_idx`).

    The other rows have the same values as without padding.

    Example:
        >>> from autoinit.fills import Normal
        >>> print(Padded(Normal(0.0, 0.02), (3,), 4))
        Normal(mean=0, std=0.02), row 3 zero
    """

    fill: Fill
    rows: tuple[int, ...]  # Indices of the rows that are zero, ascending.
    size: int = field(repr=False)  # Number of all rows.
    axis: int = 0  # Axis of the rows; 1 if the embedding is tied to a transposed weight.

    @property
    def weighted(self) -> list[tuple[float, Any]]:
        share = len(self.rows) / self.size
        return [(1 - share, self.fill), (share, Constant(0.0))]

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        self.fill.write(tensor, key_of, sampler)
        for row in self.rows:
            tensor.select(self.axis, row).zero_()

    def write_region(self, tensor: Tensor, region: Region, key_of: KeyOf, sampler: Sampler) -> None:
        self.fill.write_region(tensor, region, key_of, sampler)
        for row in self.rows:
            Constant(0.0).write_region(tensor, region.part(self.axis, 1, row, 1), key_of, sampler)

    def pieces(self, tensor: Tensor) -> Iterator[tuple[Fill, Tensor]]:
        for before, after in pairwise([-1, *self.rows, self.size]):
            if after > before + 1:
                yield self.fill, tensor.narrow(self.axis, before + 1, after - before - 1)
        for row in self.rows:
            yield Constant(0.0), tensor.narrow(self.axis, row, 1)

    def __str__(self) -> str:
        word = ("row" if self.axis == 0 else "column") + ("s" if len(self.rows) > 1 else "")
        return f"{self.fill}, {word} {', '.join(map(str, self.rows))} zero"


def calls_function(fill: Fill | None) -> bool:
    """True if a fill calls a user's function, which may read the old values."""
    if isinstance(fill, Padded):
        return calls_function(fill.fill)
    return isinstance(fill, Custom) or (isinstance(fill, Blocks) and any(map(calls_function, fill.fills)))
