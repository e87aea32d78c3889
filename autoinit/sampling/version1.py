"""Version 1 of the normal distributions, based on `torch.erfinv`, to reproduce the values of old reports.

Their last digit depends on the processor, and on a GPU a third of them differ in it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .transforms import BoundedNormal, Transform, scale_, spread, within

SQRT2 = math.sqrt(2.0)
EDGE = 1 - 2.0**-24  # The largest float32 below 1: erfinv(1) is infinite, and the clamp would make a bound of it.


class ErfinvTransform(BoundedNormal):
    """Normal through `erfinv`, where float32 resolves the bounds' probabilities; it reaches 5.4 standard deviations."""

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        low, high = (math.erf((bound - self.mean) / self.std / SQRT2) for bound in (self.low, self.high))
        spread(bits, out, *within(max(low, -EDGE), min(high, EDGE)))
        scale_(out.erfinv_(), self.std * SQRT2, self.mean, self.low, self.high)


class NewtonTransform(BoundedNormal):
    """Truncated normal between bounds that float32 probabilities cannot tell apart: far tails, narrow intervals.

    Solves `log_ndtr(z) = log(p)` in float64 by Newton's method, for the side of the distribution on which
    probabilities are small, where logarithms keep their precision at any distance.
    """

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        alpha, beta = (self.low - self.mean) / self.std, (self.high - self.mean) / self.std
        # 32 bits, centred in their cells, so that neither bound has a probability of its own.
        share = bits.to(torch.float64).add_(2.0**31 + 0.5).mul_(2.0**-32)
        standard = (
            -inverse_between(1 - share, -beta, -alpha) if alpha + beta > 0 else inverse_between(share, alpha, beta)
        )
        out.copy_(standard.mul_(self.std).add_(self.mean)).clamp_(self.low, self.high)


def inverse_between(share: Tensor, alpha: float, beta: float) -> Tensor:
    """The standard normal quantile at `share` of the way from Phi(alpha) to Phi(beta), alpha + beta <= 0."""
    bounds = torch.tensor([alpha, beta], dtype=torch.float64, device="cpu")
    log_low, log_high = torch.special.log_ndtr(bounds).tolist()
    ratio = math.exp(log_low - log_high)
    log_p = share.mul(1 - ratio).add_(ratio).log_().add_(log_high)
    # log Phi is concave: Newton's method from the left end of the interval rises monotonically to the root.
    z = (-2 * log_p - math.log(2 * math.pi)).clamp_(min=0).sqrt_().neg_().clamp_(alpha, beta)
    for _ in range(12):
        current = torch.special.log_ndtr(z)
        hazard = (z.square().mul_(-0.5).sub_(0.5 * math.log(2 * math.pi)).sub_(current)).exp_()
        z = (z - (current - log_p) / hazard).clamp_(alpha, beta)
    return z


def in_version1(transform: Transform) -> Transform:
    """The transform of version 1 for the same distribution; uniform values are the same in both."""
    if not isinstance(transform, BoundedNormal):
        return transform
    mean, std, low, high = transform.mean, transform.std, transform.low, transform.high
    below, above = (math.erf((bound - mean) / std / SQRT2) for bound in (low, high))
    # The fast one wherever float32 leaves it at least 2**20 distinct values.
    is_fast = above - below >= 2.0**-4 * max(abs(below), abs(above))
    return (ErfinvTransform if is_fast else NewtonTransform)(mean, std, low, high)
