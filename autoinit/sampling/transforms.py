"""From 32 random bits to a float32 of a distribution, by inversion: one monotone formula each, no rejection.

Every multiplication and addition is a pass of its own. A fused multiply-add would round once instead of twice,
and whether a kernel fuses depends on the processor and on where a slice begins.
"""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .normal_quantile import central_, outer
from .truncation import Excess, Places, excess_between, float32, places_between

FARTHEST = 9.0
"""Beyond this many standard deviations probabilities are too small for float32."""
LOG_2 = 0.6931471805599453
LOG_4_3 = 0.28768207245178096


class Transform(ABC):
    """Function from the int32 numbers of a stream to values."""

    @abstractmethod
    def __call__(self, bits: Tensor, out: Tensor) -> None:
        """Write one float32 to the contiguous tensor `out` for each int32 in `bits`."""


@dataclass(frozen=True)
class UniformTransform(Transform):
    """Uniform over [low, high], both rounded to float32."""

    low: float
    high: float

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        spread(bits, out, *within(self.low, self.high))


@dataclass(frozen=True)
class BoundedNormal(Transform):
    """Normal values, between bounds or not."""

    mean: float
    std: float
    low: float = -math.inf
    high: float = math.inf


class NormalTransform(BoundedNormal):
    """Normal between bounds whose probabilities float32 resolves; 32 bits reach 6.3 standard deviations."""

    @property
    def places(self) -> Places:
        """The probabilities that the bits stand for."""
        if self.low == -math.inf and self.high == math.inf:
            return places_between(0.0, 1.0, self.low, self.high)  # The same for all, and computed once.
        return places_between(self.mean, self.std, self.low, self.high)

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        standard_normal(bits.reshape(-1), out.view(-1), self.places)
        scale_(out, self.std, self.mean, self.low, self.high)


class TailTransform(BoundedNormal):
    """Truncated normal between bounds that float32 probabilities cannot tell apart: far tails, narrow intervals.

    Adds to the nearer bound how far beyond it the value is, computed in float64 by a polynomial that is fitted to the
    interval.
    """

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        # MPS has no float64.
        count = bits.to(bits.device if bits.device.type != "mps" else "cpu", torch.float64).reshape(-1)
        is_upper = self.low > self.mean
        # The share of the interval between the nearer bound and the value, in the middle of its cell.
        share = (count if is_upper else -1 - count).add_(2.0**31 + 0.5).mul_(2.0**-32)
        excess = excess_of(share, excess_between(self.mean, self.std, self.low, self.high)).mul_(self.std)
        values = excess.add_(self.low) if is_upper else excess.neg_().add_(self.high)
        out.copy_(values.view(out.shape)).clamp_(self.low, self.high)


def truncated_normal(mean: float, std: float, low: float, high: float) -> Transform:
    """Choose the transform for these bounds: the fast one if float32 leaves about 2**20 distinct values."""
    near, far = sorted(abs(bound - mean) / std for bound in (low, high))
    reach = min(far, math.sqrt(near * near + 64 * math.log(2)))
    if low <= mean <= high or (near <= FARTHEST and reach - near >= reach / 16):
        return NormalTransform(mean, std, low, high)
    return TailTransform(mean, std, low, high)


def spread(bits: Tensor, out: Tensor, half: float, middle: float) -> None:
    """`bits * 2**-31 * half + middle`, of which the conversion, the product and the sum each round to float32."""
    # Integers beyond 24 bits are rounded to the nearest float32, the outermost to 2**31 on either side.
    out.copy_(bits)
    for factor in factors(half):
        out.mul_(factor)
    if middle:
        out.add_(middle)


def factors(half: float) -> tuple[float, ...]:
    """`2**-31 * half` as one factor, or as two where the product would be subnormal, and short of digits."""
    return (2.0**-31, half) if half < 2.0**-95 else (half * 2.0**-31,)


@lru_cache(maxsize=256)
def within(low: float, high: float) -> tuple[float, float]:
    """Half width and middle of [low, high], such that rounded values never leave the interval."""
    low, high = float32(low), float32(high)
    half, middle = float32((high - low) / 2), float32(low / 2 + high / 2)

    def is_within(word: int) -> bool:
        half = _float32_of(word)
        return low <= float32(middle - half) and float32(middle + half) <= high

    (start,) = struct.unpack("<I", struct.pack("<f", half))
    if is_within(start):
        return half, middle
    # By definition the half width is multiplied by 1 - 2**-23, and rounded, until it fits. That may take millions of
    # steps, so this bisects the words of all float32 numbers, which are in the order of the numbers.
    word = bisect_right(range(start), False, key=lambda word: not is_within(word)) - 1
    # From 1.5 times a power of two up to the next one the steps are two numbers wide, and meet even words only; from
    # the start to its own power of two, only words of the start's parity.
    if word >> 23 and word & 0x7FFFFF >= 0x3FFFFF:
        word -= (word ^ (start if word >> 23 == start >> 23 else 0)) & 1
    return _float32_of(word), middle


def _float32_of(word: int) -> float:
    (value,) = struct.unpack("<f", struct.pack("<I", word))
    return float(value)


def scale_(values: Tensor, scale: float, mean: float, low: float, high: float) -> None:
    """`values * scale + mean` between bounds, each step rounded to float32, in-place."""
    values.mul_(scale)
    if mean:
        values.add_(mean)
    if low > -math.inf or high < math.inf:
        values.clamp_(low, high)


def standard_normal(bits: Tensor, out: Tensor, places: Places) -> None:
    """Write standard normal values for the given bits: count from the median outwards, then give the sign."""
    first, step, lower, upper = places
    numbers = bits.to(torch.int64) - first if first else bits
    sign = numbers >> (8 * numbers.itemsize - 1)  # 0 or -1
    inwards = numbers ^ sign
    out.copy_(inwards).mul_(step).add_(_of_side(lower.inner, upper.inner, sign, torch.float32))
    central_(out)
    if lower.below or upper.below:
        inwards = bits ^ sign if first else inwards
        in_tail = (inwards > 2**31 - 1 - _of_side(lower.below, upper.below, sign, torch.int64)).nonzero().squeeze(1)
        if in_tail.numel():
            rests = (2**31 - 1 - inwards[in_tail]).to(torch.float32).mul_(step)
            out[in_tail] = outer(rests.add_(_of_side(lower.rest, upper.rest, sign[in_tail], torch.float32)))
    out.view(torch.int32).bitwise_or_(sign.bitwise_and_(-(2**31)))


def _of_side(lower: float, upper: float, sign: Tensor, dtype: torch.dtype) -> float | Tensor:
    """The number of the lower side where the sign is -1, of the upper side where it is 0."""
    return upper if lower == upper else torch.tensor([upper, lower], dtype=dtype, device=sign.device)[sign]


def excess_of(shares: Tensor, excess: Excess) -> Tensor:
    """Distance from the nearer bound, in float64, at the given shares of the interval."""
    argument = log_of_rest(shares * excess.share).neg_() if excess.is_log else shares
    at = argument * (2 / excess.largest) - 1
    twice = at * 2
    later, latest = torch.zeros_like(at), torch.zeros_like(at)
    for coefficient in excess.coefficients[:0:-1]:
        later, latest = latest, (twice * latest).sub_(later).add_(coefficient)
    return (at * latest).sub_(later).add_(excess.coefficients[0]).mul_(argument)


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
