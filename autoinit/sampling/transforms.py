"""From 32 random bits to a float32 of a distribution, by inversion: one monotone formula each, no rejection.

Every multiplication and addition is a pass of its own. A fused multiply-add would round once instead of twice,
and whether a kernel fuses depends on the processor and on where a slice begins.
"""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST = (1 << 23) - 1
SMALLEST = -(1 << 23)
SQRT2 = math.sqrt(2.0)


def float32(value: float) -> float:
    """`value` rounded to the nearest float32."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


class Transform(ABC):
    """Turns the int32 of a stream into values; the bits may be overwritten on the way."""

    @abstractmethod
    def __call__(self, bits: Tensor, out: Tensor) -> None:
        """Write one float32 into `out` for each int32 of `bits`."""


def symmetric_units(bits: Tensor, out: Tensor, half: float, shift: float) -> None:
    """`k * 2**-23 * half + shift` for k, the upper 24 bits as a signed integer: exact up to two float32 roundings."""
    out.copy_(bits.bitwise_right_shift_(8))
    if half < 2.0**-103:
        # The product of the two factors would be subnormal, and short of digits.
        out.mul_(2.0**-23).mul_(half)
    else:
        out.mul_(half * 2.0**-23)
    out.add_(shift)


def within(low: float, high: float) -> tuple[float, float]:
    """Half the width, and the shift, that spread k evenly over [low, high], never outside it after rounding."""
    low, high = float32(low), float32(high)
    half, middle = float32((high - low) / 2), low / 2 + high / 2
    while True:
        shift = float32(middle + half * 2.0**-24)
        top = float32(float32(LARGEST * 2.0**-23 * half) + shift)
        bottom = float32(float32(SMALLEST * 2.0**-23 * half) + shift)
        if low <= bottom and top <= high:
            return half, shift
        # Where float32 is subnormal the relative step rounds to nothing.
        half = min(float32(half * (1 - 2.0**-23)), max(half - 2.0**-149, 0.0))


@dataclass(frozen=True)
class UniformTransform(Transform):
    """Uniform over [low, high], both rounded to float32."""

    low: float
    high: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "_affine", within(self.low, self.high))

    _affine = (0.0, 0.0)

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        symmetric_units(bits, out, *self._affine)


@dataclass(frozen=True)
class NormalTransform(Transform):
    """Normal through `erfinv`; 24 bits reach 5.4 standard deviations on either side."""

    mean: float
    std: float

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        symmetric_units(bits, out, 1.0, 2.0**-24)
        out.erfinv_().mul_(self.std * SQRT2)
        if self.mean:
            out.add_(self.mean)


@dataclass(frozen=True)
class TruncNormalTransform(Transform):
    """Truncated normal through `erfinv`, where float32 resolves the bounds' probabilities (`truncated_normal`)."""

    mean: float
    std: float
    low: float
    high: float

    def __post_init__(self) -> None:
        bounds = [math.erf((bound - self.mean) / self.std / SQRT2) for bound in (self.low, self.high)]
        # erfinv(+-1) is infinite, and the clamp below would turn that into a bound.
        edge = 1 - 2.0**-24
        object.__setattr__(self, "_affine", within(max(bounds[0], -edge), min(bounds[1], edge)))

    _affine = (0.0, 0.0)

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        symmetric_units(bits, out, *self._affine)
        out.erfinv_().mul_(self.std * SQRT2)
        if self.mean:
            out.add_(self.mean)
        out.clamp_(self.low, self.high)


@dataclass(frozen=True)
class TailTransform(Transform):
    """Truncated normal between bounds that float32 probabilities cannot tell apart: far tails, narrow intervals.

    Solves `log_ndtr(z) = log(p)` in float64 by Newton's method, for the side of the distribution on which
    probabilities are small, where logarithms keep their precision at any distance.
    """

    mean: float
    std: float
    low: float
    high: float

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        alpha, beta = (self.low - self.mean) / self.std, (self.high - self.mean) / self.std
        flip = alpha + beta > 0
        if flip:
            alpha, beta = -beta, -alpha
        # 32 bits, centred in their cells, so that neither bound has a probability of its own.
        share = bits.to(torch.float64).add_(2.0**31 + 0.5).mul_(2.0**-32)
        if flip:
            share = 1 - share
        standard = inverse_between(share, alpha, beta)
        if flip:
            standard.neg_()
        out.copy_(standard.mul_(self.std).add_(self.mean)).clamp_(self.low, self.high)


def log_ndtr(value: float) -> float:
    """log of the standard normal CDF of a number."""
    return float(torch.special.log_ndtr(torch.tensor(value, dtype=torch.float64, device="cpu")))


def inverse_between(share: Tensor, alpha: float, beta: float) -> Tensor:
    """The standard normal quantile at `share` of the way from Phi(alpha) to Phi(beta), alpha + beta <= 0."""
    log_high = log_ndtr(beta)
    ratio = math.exp(log_ndtr(alpha) - log_high)
    log_p = share.mul(1 - ratio).add_(ratio).log_().add_(log_high)
    # log Phi is concave: Newton's method from the left end of the interval rises monotonically to the root.
    z = (-2 * log_p - math.log(2 * math.pi)).clamp_(min=0).sqrt_().neg_().clamp_(alpha, beta)
    for _ in range(12):
        current = torch.special.log_ndtr(z)
        hazard = (z.square().mul_(-0.5).sub_(0.5 * math.log(2 * math.pi)).sub_(current)).exp_()
        z = (z - (current - log_p) / hazard).clamp_(alpha, beta)
    return z


def truncated_normal(mean: float, std: float, low: float, high: float) -> Transform:
    """The transform for these bounds: the fast one wherever float32 leaves it at least 2**20 distinct values."""
    bounds = [math.erf((bound - mean) / std / SQRT2) for bound in (low, high)]
    closest_to_one = max(map(abs, bounds))
    resolution = 2.0**-24 * closest_to_one
    if bounds[1] - bounds[0] >= 2.0**20 * resolution:
        return TruncNormalTransform(mean, std, low, high)
    return TailTransform(mean, std, low, high)
