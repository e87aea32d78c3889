"""A weight that holds several maps, each with a fill of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..fans import Layout, Part
from ..sampling import Region, Sampler
from .base import Elementwise, Fill, KeyOf
from .elementwise import Constant

STREAMS = 2
"""As many as the fill that needs most; so the streams of a map do not depend on what it gets."""


@dataclass(frozen=True)
class Blocks(Fill):
    """One fill for each part of a layout: for q, k and v, for every expert, for the groups of a convolution.

    Map number n, counted over all parts, draws from the streams that begin at `2 * n`. A part whose elements are
    independent is drawn at once, from the streams of its first map.

    Example:
        >>> import torch
        >>> from autoinit.fills import Eye
        >>> from autoinit.sampling import Sampler, derive_key
        >>> layout = Layout(axes="in,out", splits=2)
        >>> parts = layout.parts((2, 4))
        >>> weight = torch.empty(2, 4)
        >>> sampler = Sampler(torch.device("cpu"))
        >>> fill = Blocks(layout, parts, (Eye(), Eye()))
        >>> fill.write(weight, lambda stream: derive_key(0, 0, "w", stream), sampler)
        >>> weight.tolist()
        [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]
    """

    layout: Layout
    parts: tuple[Part, ...]
    fills: tuple[Fill, ...]

    @property
    def is_random(self) -> bool:
        return any(fill.is_random for fill in self.fills)

    @property
    def mean(self) -> float:
        """Expected value of an element, over all parts."""
        return math.fsum(share * fill.mean for share, fill in self._weighted)

    @property
    def std(self) -> float:
        """Standard deviation of an element, over all parts."""
        return math.sqrt(
            max(sum(share * (fill.std**2 + fill.mean**2) for share, fill in self._weighted) - self.mean**2, 0)
        )

    def cdf(self, x: Tensor) -> Tensor:
        """P(element <= x), over all parts."""
        return torch.stack([share * fill.cdf(x) for share, fill in self._weighted]).sum(0)

    @property
    def _weighted(self) -> list[tuple[float, Any]]:
        """The fills with the share of the elements that each has; not every kind has all of mean, std and CDF."""
        sizes = [part.copies * math.prod(part.shape) for part in self.parts]
        return [(size / sum(sizes), fill) for size, fill in zip(sizes, self.fills, strict=True)]

    def pieces(self, tensor: Tensor) -> Iterator[tuple[Fill, Tensor]]:
        """What a tensor is tiled with, each with the one fill that it gets, in the shape that this one is for."""
        for part, fill in zip(self.parts, self.fills, strict=True):
            if isinstance(fill, (Elementwise, Constant)):
                yield fill, self.layout.region(tensor, part)
            else:
                for each in self.layout.maps(tensor, part):
                    yield fill, each.reshape(part.shape)

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        for number, part, fill in self._numbered:
            if isinstance(fill, (Elementwise, Constant)):
                fill.write(self.layout.region(tensor, part), _from(number, key_of), sampler)
            else:
                self._write_maps(part, fill, number, tensor, key_of, sampler)

    def write_region(self, tensor: Tensor, region: Region, key_of: KeyOf, sampler: Sampler) -> None:
        self._write_held_maps(tensor, region, key_of, sampler)
        for number, part, fill in self._numbered:
            if isinstance(fill, (Elementwise, Constant)):
                fill.write_region(tensor, self._held(region, part), _from(number, key_of), sampler)

    def _write_held_maps(self, tensor: Tensor, region: Region, key_of: KeyOf, sampler: Sampler) -> None:
        """Write the maps that have to be computed whole, of which this rank needs only those that it holds a part of.

        What other fills write is overwritten, too: they come after this.
        """
        computed = [each for each in self._numbered if not isinstance(each[2], (Elementwise, Constant))]
        if not computed:
            return
        whole = torch.empty(region.shape, dtype=tensor.dtype, device=tensor.device)
        for number, part, fill in computed:
            self._write_maps(part, fill, number, whole, key_of, sampler, region)
        tensor.copy_(region.select(whole))

    def _write_maps(
        self,
        part: Part,
        fill: Fill,
        first: int,
        tensor: Tensor,
        key_of: KeyOf,
        sampler: Sampler,
        region: Region | None = None,
    ) -> None:
        for number, each in enumerate(self.layout.maps(tensor, part), first):
            if region is None or region.meets(*_corners(each)):
                _write_map(fill, each, part.shape, _from(number, key_of), sampler)

    def _held(self, region: Region, part: Part) -> Region:
        """What a region of the whole weight holds of a part."""
        if not part.size:
            return region
        axis = self.layout.roles(region.shape).index("out")
        return region.part(axis, self.layout.repeats, part.start, part.size)

    @property
    def _numbered(self) -> Iterator[tuple[int, Part, Fill]]:
        """The parts and their fills, each with the number of its first map."""
        first = 0
        for part, fill in zip(self.parts, self.fills, strict=True):
            yield first, part, fill
            first += part.copies

    def __str__(self) -> str:
        first = str(self.fills[0])
        if all(fill == self.fills[0] for fill in self.fills):
            return f"{sum(part.copies for part in self.parts)} x {first}"
        return ", ".join(
            f"[{part.start}:{part.start + part.size}] {fill}" for part, fill in zip(self.parts, self.fills, strict=True)
        )


def _from(number: int, key_of: KeyOf) -> KeyOf:
    return lambda stream: key_of(STREAMS * number + stream)


def _corners(view: Tensor) -> tuple[int, int]:
    """The places in memory of a view's first and last element."""
    first = int(view.storage_offset())
    return first, first + sum((size - 1) * step for size, step in zip(view.shape, view.stride(), strict=True))


def _write_map(fill: Fill, view: Tensor, shape: tuple[int, ...], key_of: KeyOf, sampler: Sampler) -> None:
    """Fill a view that may have several `out` or `in` axes, as if each were one."""
    try:
        merged = view.view(shape)
    except RuntimeError:
        scratch = torch.empty(shape, dtype=view.dtype, device=view.device)
        fill.write(scratch, key_of, sampler)
        view.copy_(scratch.view(view.shape))
    else:
        fill.write(merged, key_of, sampler)
