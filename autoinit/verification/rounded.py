"""The distribution of one stored element: that of its fill, after rounding to the parameter's dtype."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..fills import Elementwise, Normal

CELLS = 1 << 16
BINS = 1 << 10
FEW = 1 << 20  # With fewer float32 numbers than this in the range of a distribution, rounding to them shows.
FARTHEST = 40.0  # In std from the mean: beyond, all distributions have probability zero in float64.
NEVER = 1e-200  # Smaller probabilities count as zero: near the smallest floats their digits are lost.


@dataclass(frozen=True, kw_only=True, eq=False)
class Rounded:
    """The distribution of one stored element; see `rounded`."""

    fill: Elementwise
    points: Tensor  # All floats that it can be rounded to, ascending; none if they are too dense to make a difference.
    shares: Tensor  # P(element < point) for each point, and 1.
    mean: float
    std: float
    support: tuple[float, float]  # The smallest and the largest stored value; infinite if there is none.
    nodes: Tensor  # Values of a discrete distribution with mean 0 and variance 1, close to the standardized one.
    weights: Tensor  # Their probabilities.
    bits: float  # Random bits of one value: two are equal with a probability of 2^-bits. At most 20.

    def around(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """P(element < value) and P(element <= value), for stored values in float64."""
        if not self.points.numel():
            share = self.fill.cdf(values)
            return share, share
        below, up_to = (torch.searchsorted(self.points, values.double(), right=right) for right in (False, True))
        return self.shares[below], self.shares[up_to]

    @property
    def is_normal(self) -> bool:
        """Whether sums of values are normal and sums of their squares chi-square."""
        return isinstance(self.fill, Normal) and not self.points.numel()

    @property
    def kurtosis(self) -> float:
        """The fourth standardized moment."""
        return float(self.weights @ self.nodes**4)


@lru_cache(maxsize=256)
def rounded(fill: Elementwise, dtype: torch.dtype) -> Rounded:
    """The distribution of one element of a fill, as stored in a dtype."""
    points = shares = _points(fill, dtype)
    mean, std, bits = fill.mean, fill.std, 20.0
    if points.numel():
        middles = (points[1:] + points[:-1]) / 2
        shares = torch.cat([middles.new_zeros(1), fill.cdf(middles), middles.new_ones(1)])
        values, weights = points, shares.diff()
    else:
        edges = torch.linspace(-FARTHEST, FARTHEST, CELLS + 1, dtype=torch.float64, device="cpu")
        edges = edges.mul_(std).add_(mean)
        values, weights = (edges[1:] + edges[:-1]) / 2, fill.cdf(edges).diff()
    possible = weights > NEVER
    values, weights = values[possible], weights[possible] / weights.sum()
    low, high = getattr(fill, "low", -math.inf), getattr(fill, "high", math.inf)
    bounds = [abs(end) for end in (low, high) if math.isfinite(end)]
    if points.numel():
        mean = float(weights @ values)
        std = math.sqrt(float(weights @ (values - mean).square()))
        bits = max(min(20.0, -math.log2(float(weights @ weights))), 0.0)
        low, high = (float(values[0]), float(values[-1])) if bounds else (low, high)
    elif bounds:
        margin = torch.finfo(dtype).eps * max(bounds)  # The ends are rounded too.
        low, high = low - margin, high + margin
    if values.numel() > BINS:
        place = (values - values[0]).mul_(BINS / float(values[-1] - values[0])).long().clamp_(max=BINS - 1)
        mass = torch.zeros(BINS, dtype=torch.float64, device="cpu").index_add_(0, place, weights)
        moment = torch.zeros_like(mass).index_add_(0, place, weights * values)
        values, weights = moment[mass > 0] / mass[mass > 0], mass[mass > 0]
    nodes = values - weights @ values
    nodes /= (weights @ nodes.square()).sqrt()
    known = dict(mean=mean, std=std, bits=bits)
    return Rounded(fill=fill, points=points, shares=shares, support=(low, high), nodes=nodes, weights=weights, **known)


def _points(fill: Elementwise, dtype: torch.dtype) -> Tensor:
    if dtype.itemsize <= 2:
        pattern = torch.arange(1 << 8 * dtype.itemsize, dtype=torch.int32, device="cpu")
        every = pattern.to(torch.uint8 if dtype.itemsize == 1 else torch.int16).view(dtype).double()
        points: Tensor = every[every.isfinite()].unique()  # type: ignore[no-untyped-call]
        return points
    # In float32: all floats in the range of a distribution that is narrow beside its distance from zero.
    reach = min(FARTHEST * fill.std, 2 * (fill.largest or math.inf))
    near, far = sorted((abs(fill.mean - reach), abs(fill.mean + reach)))
    first, last = torch.tensor([near, far], dtype=torch.float32, device="cpu").view(torch.int32).tolist()
    if abs(fill.mean) <= reach or dtype.itemsize != 4 or last - first > FEW:
        return torch.empty(0, dtype=torch.float64, device="cpu")
    sizes = torch.arange(first, last + 1, dtype=torch.int32, device="cpu").view(torch.float32).double()
    return sizes if fill.mean > 0 else -sizes.flip(0)
