"""Values that are written one by one, such as the log-odds of classes in a bias."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling import Sampler
from .fill import Fill, KeyOf

SHOWN = 4


@dataclass(frozen=True)
class Vector(Fill):
    """A value for each element of a tensor of one dimension.

    Example:
        >>> fill = Vector((0.0, 1.0, 0.5))
        >>> print(fill, fill.mean)
        Vector(0, 1, 0.5) 0.5
        >>> print(Vector((1.0,) * 1000))
        Vector(1, 1, 1, 1, ... 1000 values)
    """

    values: tuple[float, ...]

    is_random = False

    @property
    def mean(self) -> float:
        """Mean of the values."""
        return math.fsum(self.values) / len(self.values)

    @property
    def std(self) -> float:
        """Standard deviation of the values."""
        mean = self.mean
        return math.sqrt(math.fsum((value - mean) ** 2 for value in self.values) / len(self.values))

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(map(abs, self.values))

    def cdf(self, x: Tensor) -> Tensor:
        """The share of values up to x."""
        values = torch.tensor(self.values, dtype=torch.float64, device=x.device).sort().values
        return torch.searchsorted(values, x.double(), right=True).double() / len(self.values)

    def scaled(self, factor: float) -> Vector:
        return Vector(tuple([value * factor for value in self.values]))

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        tensor.copy_(torch.tensor(self.values, dtype=torch.float64, device="cpu"))

    def __str__(self) -> str:
        shown = [f"{value:.6g}" for value in self.values[:SHOWN]]
        more = [f"... {len(self.values)} values"] if len(self.values) > SHOWN else []
        return f"Vector({', '.join(shown + more)})"
