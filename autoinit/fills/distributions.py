"""Fills in closed form: constant, uniform, normal, truncated and complex normal, and values given one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..sampling import NormalTransform, Region, Run, Sampler, Transform, UniformTransform, truncated_normal
from .fill import Elementwise, Fill, KeyOf

REACH = 6.34  # Largest distance of a normal value from the mean, in standard deviations, with 32 bits.


@dataclass(frozen=True)
class Constant(Fill):
    """Every element equals `value`."""

    value: float

    is_random = False
    std = 0.0

    @property
    def mean(self) -> float:
        return self.value

    def cdf(self, x: Tensor) -> Tensor:
        """P(element <= x): a step at `value`."""
        return (x.double() >= self.value).double()

    def scaled(self, factor: float) -> Constant:
        return Constant(self.value * factor + 0.0)  # Never -0.

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        tensor.fill_(self.value)

    def write_region(self, tensor: Tensor, region: Region, key_of: KeyOf, sampler: Sampler) -> None:
        for view, _, _ in region.blocks(tensor):
            view.fill_(self.value)


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
        return math.fsum(self.values) / len(self.values)

    @property
    def std(self) -> float:
        mean = self.mean
        return math.sqrt(math.fsum((value - mean) ** 2 for value in self.values) / len(self.values))

    @property
    def largest(self) -> float:
        return max(map(abs, self.values))

    def cdf(self, x: Tensor) -> Tensor:
        values = torch.tensor(self.values, dtype=torch.float64, device=x.device).sort().values
        return torch.searchsorted(values, x.double(), right=True).double() / len(self.values)

    def scaled(self, factor: float) -> Vector:
        return Vector(tuple([value * factor for value in self.values]))

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        tensor.copy_(torch.tensor(self.values, dtype=torch.float64, device="cpu"))

    def __str__(self) -> str:
        shown = [f"{value:.6g}" for value in self.values[:4]]
        more = [f"... {len(self.values)} values"] if len(self.values) > 4 else []
        return f"Vector({', '.join(shown + more)})"


@dataclass(frozen=True)
class Uniform(Elementwise):
    """Uniform over [low, high]."""

    low: float
    high: float

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2

    @property
    def std(self) -> float:
        return (self.high - self.low) / math.sqrt(12)

    @property
    def largest(self) -> float:
        return max(abs(self.low), abs(self.high))

    def cdf(self, x: Tensor) -> Tensor:
        return ((x.double() - self.low) / (self.high - self.low)).clamp(0, 1)

    def scaled(self, factor: float) -> Uniform:
        return Uniform(*sorted((self.low * factor, self.high * factor)))

    def transform(self) -> Transform:
        return UniformTransform(self.low, self.high)


@dataclass(frozen=True)
class Normal(Elementwise):
    """Normal with `mean` and `std`."""

    mean: float
    std: float

    @property
    def largest(self) -> float:
        return abs(self.mean) + REACH * self.std

    def cdf(self, x: Tensor) -> Tensor:
        p: Tensor = torch.special.ndtr((x.double() - self.mean) / self.std)
        return p

    def scaled(self, factor: float) -> Normal:
        return Normal(self.mean * factor + 0.0, self.std * abs(factor))

    def transform(self) -> Transform:
        return NormalTransform(self.mean, self.std)


@dataclass(frozen=True)
class TruncNormal(Elementwise):
    """Normal with location `loc` and scale `scale`, conditioned on [low, high].

    `mean` and `std` are those of the truncated distribution, not `loc` and `scale`.

    Example:
        >>> fill = TruncNormal(0.0, 1.0, -2.0, 2.0)
        >>> fill.mean, round(fill.std, 6)
        (0.0, 0.879626)
    """

    loc: float
    scale: float
    low: float
    high: float

    @property
    def _bounds(self) -> tuple[float, float]:
        return (self.low - self.loc) / self.scale, (self.high - self.loc) / self.scale

    @cached_property
    def _moments(self) -> tuple[float, float]:
        # The textbook formulas subtract nearly equal densities in far tails and narrow intervals. Simpson's rule on
        # the density relative to its largest value has no cancellation; beyond 40 standard deviations, or 60
        # e-foldings, from there the density is zero in float64.
        alpha, beta = self._bounds
        peak = min(max(alpha, 0.0), beta)
        reach = min(40.0, 60.0 / max(abs(peak), 1.5))
        low, high = max(alpha, peak - reach), min(beta, peak + reach)
        z = torch.linspace(low, high, 8193, dtype=torch.float64, device="cpu")
        weight = torch.exp((peak**2 - z.square()) / 2)
        weight[1:-1:2] *= 4
        weight[2:-1:2] *= 2
        weight /= weight.sum()
        # Relative to the peak, so that a narrow interval far out keeps its digits.
        offset = float((weight * (z - peak)).sum())
        variance = float((weight * (z - peak - offset).square()).sum())
        return self.loc + self.scale * (peak + offset), self.scale * math.sqrt(variance)

    @property
    def mean(self) -> float:
        return self._moments[0] if self.low - self.loc != self.loc - self.high else self.loc

    @property
    def std(self) -> float:
        return self._moments[1]

    @property
    def largest(self) -> float:
        # The farthest that can be reached in the interval from its most probable value.
        peak, reach = min(max(self.loc, self.low), self.high), REACH * self.scale
        return max(abs(max(self.low, peak - reach)), abs(min(self.high, peak + reach)))

    def cdf(self, x: Tensor) -> Tensor:
        """P(element <= x), precise in both tails."""
        alpha, beta = self._bounds
        # At minus infinity the shares below would be infinity less infinity.
        z = ((x.double() - self.loc) / self.scale).clamp(alpha, beta).clamp(-1e100, 1e100)
        if alpha + beta > 0:
            return 1 - _share(-z, -beta, -alpha)
        return _share(z, alpha, beta)

    def scaled(self, factor: float) -> TruncNormal:
        low, high = sorted((self.low * factor, self.high * factor))
        return TruncNormal(self.loc * factor + 0.0, self.scale * abs(factor), low, high)

    def transform(self) -> Transform:
        return truncated_normal(self.loc, self.scale, self.low, self.high)


def _share(z: Tensor, alpha: float, beta: float) -> Tensor:
    """(Phi(z) - Phi(alpha)) / (Phi(beta) - Phi(alpha)) through logarithms, for an interval on the lower side."""
    log_alpha, log_beta = torch.special.log_ndtr(z.new_tensor([alpha, beta]))
    log_z = torch.special.log_ndtr(z)
    return torch.exp(log_z - log_beta) * -torch.expm1(log_alpha - log_z) / -torch.expm1(log_alpha - log_beta)


@dataclass(frozen=True)
class ComplexNormal(Fill):
    """Complex normal around `mean`, with E|x - mean|**2 = std**2, as of `torch.nn.init.normal_` on complex tensors.

    Real and imaginary part are independent; each is normal with standard deviation `std / sqrt(2)`.
    """

    mean: float
    std: float

    @property
    def real(self) -> Normal:
        """Fill of the real part."""
        return Normal(self.mean, self.std / math.sqrt(2))

    @property
    def imaginary(self) -> Normal:
        """Fill of the imaginary part."""
        return Normal(0.0, self.std / math.sqrt(2))

    def scaled(self, factor: float) -> ComplexNormal:
        return ComplexNormal(self.mean * factor + 0.0, self.std * abs(factor))

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        # Numbers 2i and 2i + 1 of the stream are the parts of element i.
        self.imaginary.write(torch.view_as_real(tensor), key_of, sampler)
        if self.mean:
            tensor.add_(self.mean)

    def write_region(self, tensor: Tensor, region: Region, key_of: KeyOf, sampler: Sampler) -> None:
        pairs = Region((*region.shape, 2), (*region.runs, (Run(0, 0, 2),)))
        self.imaginary.write_region(torch.view_as_real(tensor), pairs, key_of, sampler)
        if self.mean:
            tensor.add_(self.mean)
