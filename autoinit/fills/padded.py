"""A fill of an embedding whose rows for padding stay zero."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor

from ..sampling import Region, Sampler
from .distributions import Constant
from .fill import Fill, KeyOf, Mixture


@dataclass(frozen=True)
class Padded(Mixture):
    """Another fill, and zeros in the rows that embeddings have for padding (`padding_idx`).

    The other rows have the values that they have without padding.

    Args:
        fill: values of the other rows.
        rows: indices of the rows that are zero, ascending.
        size: number of all rows.
        axis: axis of the tensor along which the rows lie; 1 if the embedding is tied to a transposed weight.

    Example:
        >>> import torch
        >>> from autoinit.fills import Normal
        >>> fill = Padded(Normal(0.0, 0.02), (3,), 4)
        >>> print(fill)
        Normal(mean=0, std=0.02), row 3 zero
        >>> fill.mean, round(fill.std, 4), fill.cdf(torch.tensor([0.0])).tolist()
        (0.0, 0.0173, [0.625])
    """

    fill: Fill
    rows: tuple[int, ...]
    size: int = field(repr=False)
    axis: int = 0

    @property
    def weighted(self) -> list[tuple[float, Any]]:
        share = len(self.rows) / self.size
        return [(1 - share, self.fill), (share, Constant(0.0))]

    @property
    def std(self) -> float:
        """Standard deviation of an element; without cancellation, however far from zero the mean is."""
        (rest, fill), (share, _) = self.weighted
        return math.sqrt(rest * (fill.std**2 + share * fill.mean**2))

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        self.fill.write(tensor, key_of, sampler)
        for row in self.rows:
            tensor.select(self.axis, row).zero_()

    def write_region(self, tensor: Tensor, region: Region, key_of: KeyOf, sampler: Sampler) -> None:
        self.fill.write_region(tensor, region, key_of, sampler)
        for run in region.runs[self.axis]:
            for row in self.rows:
                if run.start <= row < run.start + run.size:
                    tensor.select(self.axis, run.at + row - run.start).zero_()

    def pieces(self, tensor: Tensor) -> Iterator[tuple[Fill, Tensor]]:
        """Views of a tensor: the other rows with their fill, then the rows for padding.

        Example:
            >>> import torch
            >>> fill = Padded(Constant(1.0), (2,), 5)
            >>> [(str(fill), len(part)) for fill, part in fill.pieces(torch.zeros(5, 2))]
            [('Constant(value=1)', 2), ('Constant(value=1)', 2), ('Constant(value=0)', 1)]
        """
        ends = [-1, *self.rows, self.size]
        for before, after in pairwise(ends):
            if after > before + 1:
                yield self.fill, tensor.narrow(self.axis, before + 1, after - before - 1)
        for row in self.rows:
            yield Constant(0.0), tensor.narrow(self.axis, row, 1)

    def __str__(self) -> str:
        word = ("row" if self.axis == 0 else "column") + ("s" if len(self.rows) > 1 else "")
        return f"{self.fill}, {word} {', '.join(map(str, self.rows))} zero"
