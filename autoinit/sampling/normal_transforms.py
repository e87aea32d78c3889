"""Transforms from bits to normal and truncated normal values: version 2 of the definition (`docs/sampling.md`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .normal_quantile import central_, outer
from .transforms import Transform
from .truncation import Excess, Places, excess_between, places_between

FARTHEST = 9.0
"""Bounds on one side of the mean, both more than so many standard deviations away, have probabilities too small for
float32."""


@dataclass(frozen=True)
class NormalTransform(Transform):
    """Normal; 32 bits reach 6.3 standard deviations on either side."""

    mean: float
    std: float

    @property
    def places(self) -> Places:
        """Places of the whole normal distribution."""
        return places_between(0.0, 1.0, -math.inf, math.inf)

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        standard_normal(bits, out, self.places)
        scale_(out, self.mean, self.std)


@dataclass(frozen=True)
class TruncNormalTransform(Transform):
    """Truncated normal, where float32 resolves the probabilities between the bounds (`truncated_normal`)."""

    mean: float
    std: float
    low: float
    high: float

    @property
    def places(self) -> Places:
        """Places between the bounds."""
        return places_between(self.mean, self.std, self.low, self.high)

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        standard_normal(bits, out, self.places)
        scale_(out, self.mean, self.std)
        out.clamp_(self.low, self.high)


@dataclass(frozen=True)
class TailTransform(Transform):
    """Truncated normal between bounds that float32 probabilities cannot tell apart: far tails, narrow intervals.

    Adds to the nearer bound how far beyond it the value is, computed in float64 by a polynomial that is fitted to the
    interval.
    """

    mean: float
    std: float
    low: float
    high: float

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        # MPS has no float64.
        device = bits.device if bits.device.type != "mps" else torch.device("cpu")
        count = bits.to(device, torch.float64).reshape(-1)
        is_upper = self.low > self.mean
        # The share of the interval between the nearer bound and the value, in the middle of its cell.
        share = (count if is_upper else -1 - count).add_(2.0**31 + 0.5).mul_(2.0**-32)
        excess = excess_of(share, excess_between(self.mean, self.std, self.low, self.high)).mul_(self.std)
        near = self.low if is_upper else self.high
        values = excess.add_(near) if is_upper else excess.neg_().add_(near)
        out.copy_(values.view(out.shape)).clamp_(self.low, self.high)


def truncated_normal(mean: float, std: float, low: float, high: float) -> Transform:
    """Choose the transform for these bounds: the fast one if float32 leaves about 2**20 distinct values."""
    near, far = sorted(abs(bound - mean) / std for bound in (low, high))
    reach = min(far, math.sqrt(near * near + 64 * math.log(2)))
    if low <= mean <= high or (near <= FARTHEST and reach - near >= reach / 16):
        return TruncNormalTransform(mean, std, low, high)
    return TailTransform(mean, std, low, high)


def scale_(values: Tensor, mean: float, std: float) -> None:
    """`values * std + mean`, each step rounded to float32, in place."""
    values.mul_(std)
    if mean:
        values.add_(mean)


def standard_normal(bits: Tensor, out: Tensor, places: Places) -> None:
    """Write standard normal values for the given bits."""
    bits, out = bits.reshape(-1), out.view(-1)
    if places.is_symmetric:
        is_below = bits >> 31
        inwards, side = bits ^ is_below, places.upper
        out.copy_(inwards).mul_(places.step).add_(side.inner)
        in_tail = (inwards > 2**31 - 1 - side.below).nonzero().squeeze(1) if side.below else inwards[:0]
        central_(out)
        if in_tail.numel():
            out[in_tail] = outer((2**31 - 1 - inwards[in_tail]).to(torch.float32).mul_(places.step).add_(side.rest))
        out.view(torch.int32).bitwise_or_(is_below.bitwise_and_(-(2**31)))
        return
    numbers = bits.to(torch.int64)
    for side, is_side, inwards, outwards in (
        (places.upper, numbers >= places.first, numbers - places.first, 2**31 - 1 - numbers),
        (places.lower, numbers < places.first, places.first - 1 - numbers, numbers + 2**31),
    ):
        here = is_side.nonzero().squeeze(1)
        if not here.numel():
            continue
        near = inwards[here].to(torch.float32).mul_(places.step).add_(side.inner)
        rests = outwards[here]
        in_tail = (rests < side.below).nonzero().squeeze(1)
        central_(near)
        near[in_tail] = outer(rests[in_tail].to(torch.float32).mul_(places.step).add_(side.rest))
        out[here] = near if side is places.upper else near.neg_()


def excess_of(shares: Tensor, excess: Excess) -> Tensor:
    """Distance from the nearer bound, in float64, at the given shares of the interval."""
    argument = log_of_rest(shares * excess.share).neg_() if excess.is_log else shares
    at = argument * (2 / excess.largest) - 1
    twice = at * 2
    later, latest = torch.zeros_like(at), torch.zeros_like(at)
    for coefficient in excess.coefficients[:0:-1]:
        later, latest = latest, (twice * latest).sub_(later).add_(coefficient)
    return (at * latest).sub_(later).add_(excess.coefficients[0]).mul_(argument)


LOG_2 = 0.6931471805599453
LOG_4_3 = 0.28768207245178096


def log_of_rest(shares: Tensor) -> Tensor:
    """log(1 - share) in float64, bitwise the same on every device; `torch.log1p` is not."""
    words = (1 - shares).view(torch.int64)
    exponents = ((words >> 52) - 1023).to(torch.float64)
    fractions = ((words & (2**52 - 1)) | (1023 << 52)).view(torch.float64)
    # 2 artanh(t) around 4/3, the middle of [1, 2).
    t = (fractions - 4 / 3) / (fractions + 4 / 3)
    square = t * t
    series = torch.full_like(t, 1 / 23)
    for odd in range(21, 0, -2):
        series.mul_(square).add_(1 / odd)
    return exponents.mul_(LOG_2).add_(series.mul_(t).mul_(2).add_(LOG_4_3))
