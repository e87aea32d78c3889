"""A fill of an embedding whose rows for padding stay zero."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor

from ..sampling import Region, Sampler
from .base import Fill, KeyOf
from .elementwise import Constant


@dataclass(frozen=True)
class Padded(Fill):
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
    def is_random(self) -> bool:
        return self.fill.is_random

    @property
    def mean(self) -> float:
        """Expected value of an element, over all rows."""
        return (1 - self._share) * float(self._inner.mean)

    @property
    def std(self) -> float:
        """Standard deviation of an element, over all rows."""
        return math.sqrt((1 - self._share) * (self._inner.std**2 + self._share * self._inner.mean**2))

    def cdf(self, x: Tensor) -> Tensor:
        """P(element <= x), over all rows."""
        step: Tensor = Constant(0.0).cdf(x)
        inner: Tensor = self._inner.cdf(x)
        return (1 - self._share) * inner + self._share * step

    @property
    def _share(self) -> float:
        return len(self.rows) / self.size

    @property
    def _inner(self) -> Any:
        """The other fill; not every kind has a mean, a std and a CDF."""
        return self.fill

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

    def parts(self, tensor: Tensor) -> Iterator[tuple[Fill, Tensor]]:
        """Views of a tensor: the other rows with their fill, then the rows for padding.

        Example:
            >>> import torch
            >>> fill = Padded(Constant(1.0), (2,), 5)
            >>> [(str(fill), len(part)) for fill, part in fill.parts(torch.zeros(5, 2))]
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
