"""Circular complex normal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling import NormalTransform, Region, Run, Sampler
from .base import Fill, KeyOf
from .elementwise import Normal


@dataclass(frozen=True)
class ComplexNormal(Fill):
    """Complex normal around `mean`, with E|x - mean|**2 = std**2, as of `torch.nn.init.normal_` on complex tensors.

    Real and imaginary part are independent; each is normal with standard deviation `std / sqrt(2)`.

    Example:
        >>> print(ComplexNormal(0.0, 2.0).imaginary)
        Normal(mean=0, std=1.41421)
    """

    mean: float
    std: float

    is_random = True

    @property
    def real(self) -> Normal:
        """What the real part gets."""
        return Normal(self.mean, self.std / math.sqrt(2))

    @property
    def imaginary(self) -> Normal:
        """What the imaginary part gets."""
        return Normal(0.0, self.std / math.sqrt(2))

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        # Numbers 2i and 2i + 1 of the stream are the parts of element i.
        sampler.draw_into(torch.view_as_real(tensor), key_of(0), self._transform)
        if self.mean:
            tensor.add_(self.mean)

    def write_region(self, tensor: Tensor, region: Region, key_of: KeyOf, sampler: Sampler) -> None:
        pairs = Region(shape=(*region.shape, 2), runs=(*region.runs, (Run(0, 0, 2),)))
        sampler.draw_region(torch.view_as_real(tensor), key_of(0), self._transform, pairs)
        if self.mean:
            tensor.add_(self.mean)

    @property
    def _transform(self) -> NormalTransform:
        return NormalTransform(0.0, self.imaginary.std)
