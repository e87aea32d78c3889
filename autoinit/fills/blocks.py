"""A weight that holds several maps, each with a fill of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..fans import Layout, Part
from ..sampling import Region, Sampler
from .distributions import Constant
from .fill import Elementwise, Fill, KeyOf, Mixture

STREAMS = 2
"""As many as the fill that needs most; so the streams of a map do not depend on what it gets."""

INDEPENDENT = (Elementwise, Constant)
"""Fills that draw any part of a tensor alone."""


@dataclass(frozen=True)
class Blocks(Mixture):
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
    def weighted(self) -> list[tuple[float, Fill]]:
        sizes = [part.copies * math.prod(part.shape) for part in self.parts]
        return [(size / sum(sizes), fill) for size, fill in zip(sizes, self.fills, strict=True)]

    def pieces(self, tensor: Tensor) -> Iterator[tuple[Fill, Tensor]]:
        for _, part, fill, view in self._tiles(tensor):
            yield fill, view if isinstance(fill, INDEPENDENT) else view.reshape(part.shape)

    def _tiles(self, tensor: Tensor) -> Iterator[tuple[int, Part, Fill, Tensor]]:
        """The views of a tensor that are written at once, each with its first map's number, its part and its fill."""
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
            _write_tile(fill, view, part, _from(number, key_of), sampler)

    def write_region(self, tensor: Tensor, region: Region, key_of: KeyOf, sampler: Sampler) -> None:
        is_drawn_in_parts = all(isinstance(fill, INDEPENDENT) for fill in self.fills)
        device = torch.device("meta") if is_drawn_in_parts else tensor.device
        whole = torch.empty(region.shape, dtype=tensor.dtype, device=device)
        tiles = list(self._tiles(whole))
        # A map that has to be computed whole is, if this rank holds a part of it. What other fills write comes after.
        for number, part, fill, view in tiles:
            if not isinstance(fill, INDEPENDENT) and region.meets(*_corners(view)):
                _write_tile(fill, view, part, _from(number, key_of), sampler)
        if not is_drawn_in_parts:
            tensor.copy_(region.select(whole))
        for number, part, fill, _ in tiles:
            if isinstance(fill, INDEPENDENT):
                fill.write_region(tensor, self._held(region, part), _from(number, key_of), sampler)

    def _held(self, region: Region, part: Part) -> Region:
        """What a region of the whole weight holds of a part."""
        if not part.size:
            return region
        axis = self.layout.roles(region.shape).index("out")
        return region.part(axis, self.layout.repeats, part.start, part.size)

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


def _write_tile(fill: Fill, view: Tensor, part: Part, key_of: KeyOf, sampler: Sampler) -> None:
    """Fill a view; one that is a map may have several `out` or `in` axes, and is filled as if each were one."""
    try:
        merged = view if isinstance(fill, INDEPENDENT) else view.view(part.shape)
    except RuntimeError:
        scratch = torch.empty(part.shape, dtype=view.dtype, device=view.device)
        fill.write(scratch, key_of, sampler)
        view.copy_(scratch.view(view.shape))
    else:
        fill.write(merged, key_of, sampler)
