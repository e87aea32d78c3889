"""Version 1 of the normal distributions, based on `torch.erfinv`, to reproduce the values of old reports.

Their last digit depends on the processor, and on a GPU a third of them differ in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .normal_transforms import NormalTransform, TailTransform, TruncNormalTransform
from .transforms import Transform, spread, within

SQRT2 = math.sqrt(2.0)
EDGE = 1 - 2.0**-24
"""The largest float32 below 1: erfinv(1) is infinite."""


@dataclass(frozen=True)
class ErfinvNormal(Transform):
    """Normal through `erfinv`; float32 reaches 5.4 standard deviations on either side."""

    mean: float
    std: float

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        spread(bits, out, EDGE, 0.0)
        out.erfinv_().mul_(self.std * SQRT2)
        if self.mean:
            out.add_(self.mean)


@dataclass(frozen=True)
class ErfinvTruncNormal(Transform):
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
class NewtonTail(Transform):
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


def _truncated_normal(mean: float, std: float, low: float, high: float) -> Transform:
    """The transform for these bounds: the fast one wherever float32 leaves it at least 2**20 distinct values."""
    bounds = [math.erf((bound - mean) / std / SQRT2) for bound in (low, high)]
    closest_to_one = max(map(abs, bounds))
    resolution = 2.0**-24 * closest_to_one
    if bounds[1] - bounds[0] >= 2.0**20 * resolution:
        return ErfinvTruncNormal(mean, std, low, high)
    return NewtonTail(mean, std, low, high)


def in_version1(transform: Transform) -> Transform:
    """What version 1 has for the distribution of a transform; uniform values are the same in both.

    Example:
        >>> in_version1(NormalTransform(0.0, 1.0))
        ErfinvNormal(mean=0.0, std=1.0)
    """
    if isinstance(transform, NormalTransform):
        return ErfinvNormal(transform.mean, transform.std)
    if isinstance(transform, (TruncNormalTransform, TailTransform)):
        return _truncated_normal(transform.mean, transform.std, transform.low, transform.high)
    return transform
