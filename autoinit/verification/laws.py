"""The distribution of one stored element: that of its fill, after rounding to the parameter's dtype."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from ..fills import Elementwise, Normal, TruncNormal, Uniform

CELLS = 1 << 16
BINS = 1 << 10
FEW = 1 << 20
"""Fewer floats than this between the ends of a distribution, and rounding to them can be seen."""
FARTHEST = 40.0
"""Standard deviations from the mean beyond which every distribution here has probability zero in float64."""
NEVER = 1e-200
"""A smaller probability is none: near the smallest floats nothing is left of its digits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Law:
    """The distribution of one stored element.

    Args:
        fill: in closed form.
        dtype: of the parameter; of a complex one that of its parts.
        points: the floats of that dtype that the fill can be rounded to, ascending; None if they lie so close that
            it makes no difference.
    """

    fill: Elementwise
    dtype: torch.dtype
    points: Tensor | None = field(default=None, repr=False)

    def around(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """P(element < value) and P(element <= value), for stored values in float64."""
        if self.points is None:
            share = self.fill.cdf(values)
            return share, share
        below = torch.searchsorted(self.points, values.double())
        up_to = torch.searchsorted(self.points, values.double(), right=True)
        return self._shares[below], self._shares[up_to]

    @cached_property
    def _shares(self) -> Tensor:
        """How much is rounded to the points before each of them, and to all."""
        points = torch.empty(0, dtype=torch.float64, device="cpu") if self.points is None else self.points
        middles = (points[1:] + points[:-1]) / 2
        return torch.cat([points.new_zeros(1), self.fill.cdf(middles), points.new_ones(1)])

    @cached_property
    def _cells(self) -> tuple[Tensor, Tensor]:
        """Values and their probabilities."""
        if self.points is not None:
            values, weights = self.points, self._shares.diff()
        else:
            edges = torch.linspace(-FARTHEST, FARTHEST, CELLS + 1, dtype=torch.float64, device="cpu")
            edges = edges.mul_(self.fill.std).add_(self.fill.mean)
            values, weights = (edges[1:] + edges[:-1]) / 2, self.fill.cdf(edges).diff()
        possible = weights > NEVER
        return values[possible], weights[possible] / weights.sum()

    @cached_property
    def mean(self) -> float:
        """Of a stored element."""
        if self.points is None:
            return self.fill.mean
        values, weights = self._cells
        return float(weights @ values)

    @cached_property
    def std(self) -> float:
        """Of a stored element."""
        if self.points is None:
            return self.fill.std
        values, weights = self._cells
        return math.sqrt(float(weights @ (values - self.mean).square()))

    @cached_property
    def nodes(self) -> tuple[Tensor, Tensor]:
        """A discrete distribution of mean 0 and variance 1 that stands for the standardized one."""
        values, weights = self._cells
        if values.numel() > BINS:
            place = (values - values[0]).mul_(BINS / float(values[-1] - values[0])).long().clamp_(max=BINS - 1)
            mass = torch.zeros(BINS, dtype=torch.float64, device="cpu").index_add_(0, place, weights)
            moment = torch.zeros_like(mass).index_add_(0, place, weights * values)
            values, weights = moment[mass > 0] / mass[mass > 0], mass[mass > 0]
        values = values - weights @ values
        return values / (weights @ values.square()).sqrt(), weights

    @cached_property
    def kurtosis(self) -> float:
        """The fourth standardized moment: how much a square varies is this less one."""
        nodes, weights = self.nodes
        return float(weights @ nodes**4)

    @cached_property
    def bits(self) -> float:
        """How improbable it is that two values are equal, in bits; 20 where rounding makes no difference."""
        if self.points is None:
            return 20.0
        _, weights = self._cells
        return max(min(20.0, -math.log2(float(weights @ weights))), 0.0)

    @property
    def is_normal(self) -> bool:
        """Whether sums of its values and of their squares have distributions of their own names."""
        return self.points is None and isinstance(self.fill, Normal)

    @cached_property
    def support(self) -> tuple[float, float]:
        """The smallest and the largest stored value; infinite if there is none."""
        if not isinstance(self.fill, (Uniform, TruncNormal)):
            return -math.inf, math.inf
        low, high = self.fill.low, self.fill.high
        if self.points is not None:
            values, _ = self._cells
            return float(values[0]), float(values[-1])
        # Its ends are rounded, too.
        margin = torch.finfo(self.dtype).eps * max(abs(bound) for bound in (low, high) if math.isfinite(bound))
        return low - margin, high + margin

    @property
    def resolution(self) -> float:
        """The width of an interval in which generators of 24 bits cannot place a value, at an end of the support."""
        low, high = self.support
        return (high - low) * 2.0**-22 if math.isfinite(high - low) else 0.0


@lru_cache(maxsize=256)
def law_of(fill: Elementwise, dtype: torch.dtype) -> Law:
    """The law of a fill in a dtype.

    Example:
        >>> round(law_of(Normal(0.0, 1.0), torch.float32).kurtosis, 6)
        3.0
        >>> rounded = law_of(Uniform(0.0, 1.0), torch.float8_e4m3fn)
        >>> below, up_to = rounded.around(
        ...     torch.tensor([0.5])
        ... )  # 0.46875, 0.5 and 0.5625 are neighbours.
        >>> below.item(), up_to.item()
        (0.484375, 0.53125)
    """
    return Law(fill=fill, dtype=dtype, points=_points(fill, dtype))


def _points(fill: Elementwise, dtype: torch.dtype) -> Tensor | None:
    if dtype.itemsize > 2:
        return _close_floats(fill, dtype)
    pattern = torch.arange(1 << 8 * dtype.itemsize, dtype=torch.int32, device="cpu")
    pattern = pattern.to(torch.uint8) if dtype.itemsize == 1 else pattern.to(torch.int16)
    every = pattern.view(dtype).double()
    points: Tensor = every[every.isfinite()].unique()  # type: ignore[no-untyped-call]
    return points


def _close_floats(fill: Elementwise, dtype: torch.dtype) -> Tensor | None:
    """All floats between the ends of a distribution that is narrow beside its distance from zero."""
    reach = min(FARTHEST * fill.std, 2 * (fill.largest or math.inf))
    low, high = fill.mean - reach, fill.mean + reach
    if not (low > 0 or high < 0) or dtype.itemsize != 4:
        return None
    ends = torch.tensor(sorted((abs(low), abs(high))), dtype=torch.float32, device="cpu").view(torch.int32).tolist()
    if ends[1] - ends[0] > FEW:
        return None
    sizes = torch.arange(ends[0], ends[1] + 1, dtype=torch.int32, device="cpu").view(torch.float32).double()
    return sizes if low > 0 else -sizes.flip(0)
