"""Tests of values against the closed-form distribution that a report promises: four a tensor, at one error rate.

Constants are compared bit by bit. A random tensor of n values is tested for

- its mean, by a z-test;
- its variance, by a chi-square test whose degrees of freedom follow from the kurtosis of the distribution;
- its shape, by Kolmogorov and Smirnov's test against the CDF, exact for every n;
- its range: where its smallest and its largest value lie among those of n draws.

Holm's procedure over all tests of a model bounds the probability of any false alarm by `alpha`, however the tests
depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from scipy.stats import chi2, kstwo, norm
from torch import Tensor

from autoinit.fills import Constant, Elementwise, Fill

ALPHA = 1e-3
# Below this the distributions of a mean and of a variance are no normal and no chi-square one at small p-values.
ENOUGH_FOR_MOMENTS = 1000


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """A test that a parameter fails, with a p-value that is not yet corrected for the number of tests."""

    fqn: str
    test: str
    pvalue: float


def deviations(values: Mapping[str, Tensor], fills: Mapping[str, Fill], alpha: float = ALPHA) -> list[Deviation]:
    """The tests that the values fail at a family-wise false-alarm rate of `alpha`, least probable first."""
    tests = [
        Deviation(fqn=fqn, test=test, pvalue=pvalue)
        for fqn, fill in fills.items()
        for test, pvalue in pvalues(values[fqn].detach(), fill).items()
    ]
    return list(_rejected_by_holm(tests, alpha))


def _rejected_by_holm(tests: list[Deviation], alpha: float) -> Iterator[Deviation]:
    for rank, test in enumerate(sorted(tests, key=lambda test: test.pvalue)):
        if test.pvalue > alpha / (len(tests) - rank):
            return
        yield test


def pvalues(values: Tensor, fill: Fill) -> dict[str, float]:
    """How improbable a tensor is under a fill, by each test that applies."""
    if isinstance(fill, Constant):
        return {"constant": float(bitwise_equal(values, torch.full_like(values, fill.value)))}
    if not isinstance(fill, Elementwise) or values.dtype != torch.float32:
        raise TypeError(f"no closed form for {values.dtype} values of {fill}")
    ordered = values.flatten().sort().values.double()
    found = {"range": range_pvalue(values, fill), "shape": shape_pvalue(ordered, fill)}
    if ordered.numel() >= ENOUGH_FOR_MOMENTS:
        found |= {"mean": mean_pvalue(ordered, fill), "variance": variance_pvalue(ordered, fill)}
    return found


def bitwise_equal(one: Tensor, other: Tensor) -> bool:
    """Equality that tells zero from negative zero, and finds NaN equal to itself."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one.detach().flatten().view(torch.uint8), other.detach().flatten().view(torch.uint8))


def mean_pvalue(sample: Tensor, fill: Elementwise) -> float:
    z = float(sample.mean() - fill.mean) * math.sqrt(sample.numel()) / fill.std
    return float(2 * norm.sf(abs(z)))


def variance_pvalue(sample: Tensor, fill: Elementwise) -> float:
    # A sum of n squares has the mean n and the variance n (kurtosis - 1), like half that factor times a chi-square
    # variable of 2n / (kurtosis - 1) degrees of freedom; for a normal distribution the two are the same.
    factor = (kurtosis(fill) - 1) / 2
    squares = float(((sample - fill.mean) / fill.std).square().sum()) / factor
    freedom = sample.numel() / factor
    return float(2 * min(chi2.sf(squares, freedom), chi2.cdf(squares, freedom)))


def shape_pvalue(ordered: Tensor, fill: Elementwise) -> float:
    return float(kstwo.sf(largest_distance(ordered, fill), ordered.numel()))


def largest_distance(ordered: Tensor, fill: Elementwise) -> float:
    """Between the CDF of a fill and that of a sample, Kolmogorov and Smirnov's D."""
    n = ordered.numel()
    cdf = fill.cdf(ordered)
    below = torch.arange(n, dtype=torch.float64) / n
    return max(float((cdf - below).max()), float((below + 1 / n - cdf).max()))


def range_pvalue(values: Tensor, fill: Elementwise) -> float:
    # One float further in: a value that was rounded to its bound is inside.
    extremes = torch.stack([values.min(), values.max()])
    inner = torch.nextafter(extremes, extremes.new_tensor([math.inf, -math.inf]))
    low, high = fill.cdf(inner).tolist()
    n = values.numel()
    # P(the smallest of n <= x) = 1 - (1 - cdf(x))**n, and likewise for the largest.
    tails = [-math.expm1(n * math.log1p(-tail)) if tail < 1 else 1.0 for tail in (low, 1 - high)]
    return 2 * min(*tails, 0.5)


@cache
def kurtosis(fill: Elementwise) -> float:
    """The fourth standardized moment, by parts from the CDF: the integral of 4 t^3 P(|x - mean| / std > t)."""
    t = torch.linspace(0, 40, 40_001, dtype=torch.float64)
    tails = fill.cdf(fill.mean - fill.std * t) + 1 - fill.cdf(fill.mean + fill.std * t)
    return float(torch.trapezoid(4 * t**3 * tails, t))
