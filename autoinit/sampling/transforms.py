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

SQRT2 = math.sqrt(2.0)
EDGE = 1 - 2.0**-24
"""The largest float32 below 1: erfinv(1) is infinite."""


def float32(value: float) -> float:
    """`value` rounded to the nearest float32."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


class Transform(ABC):
    """Turns the int32 of a stream into values."""

    @abstractmethod
    def __call__(self, bits: Tensor, out: Tensor) -> None:
        """Write one float32 into `out` for each int32 of `bits`."""


def spread(bits: Tensor, out: Tensor, half: float, middle: float) -> None:
    """`bits * 2**-31 * half + middle`, of which the conversion, the product and the sum each round to float32."""
    # Integers beyond 24 bits are rounded to the nearest float32, the outermost to 2**31 on either side.
    out.copy_(bits)
    if half < 2.0**-95:
        # The product of the two factors would be subnormal, and short of digits.
        out.mul_(2.0**-31).mul_(half)
    else:
        out.mul_(half * 2.0**-31)
    if middle:
        out.add_(middle)


def within(low: float, high: float) -> tuple[float, float]:
    """Half the width, and the middle, that spread bits evenly over [low, high], never outside it after rounding."""
    low, high = float32(low), float32(high)
    half, middle = float32((high - low) / 2), float32(low / 2 + high / 2)
    while not low <= float32(middle - half) <= float32(middle + half) <= high:
        # Where float32 is subnormal the relative step rounds to nothing.
        half = min(float32(half * (1 - 2.0**-23)), max(half - 2.0**-149, 0.0))
    return half, middle


@dataclass(frozen=True)
class UniformTransform(Transform):
    """Uniform over [low, high], both rounded to float32."""

    low: float
    high: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "_affine", within(self.low, self.high))

    _affine = (0.0, 0.0)

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        spread(bits, out, *self._affine)


@dataclass(frozen=True)
class NormalTransform(Transform):
    """Normal through `erfinv`; float32 reaches 5.4 standard deviations on either side."""

    mean: float
    std: float

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        spread(bits, out, EDGE, 0.0)
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
        # Of an infinite erfinv the clamp below would make a bound.
        object.__setattr__(self, "_affine", within(max(bounds[0], -EDGE), min(bounds[1], EDGE)))

    _affine = (0.0, 0.0)

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        spread(bits, out, *self._affine)
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
