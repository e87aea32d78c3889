"""Tests that two samples come from one distribution, which need not be known."""

from __future__ import annotations

import math

import scipy.stats
import torch
from torch import Tensor

FALSE_ALARM = 1e-7
"""Of one test; `different` makes three."""
FEWEST = 3
ENOUGH_FOR_MOMENTS = 1000


def different(one: Tensor, other: Tensor) -> str:
    """In what two samples of one distribution differ, each at the level of `FALSE_ALARM`; few values do not."""
    a, b = one.double().flatten(), other.double().flatten()
    n = len(a)
    if n < FEWEST:
        return ""
    if min(len(a.unique()), len(b.unique())) == 1:
        return "" if torch.equal(a, b) else "the constant"
    if n >= ENOUGH_FOR_MOMENTS and (moment := different_moment(_without_outliers(a), _without_outliers(b))):
        return moment
    return "the shape" if scipy.stats.ks_2samp(a.numpy(), b.numpy()).pvalue < FALSE_ALARM else ""


def different_moment(a: Tensor, b: Tensor) -> str:
    """Which of the first two moments differs, by their normal approximations."""
    limit, n = scipy.stats.norm.isf(FALSE_ALARM / 2), len(a)
    if abs(a.mean() - b.mean()) > limit * math.sqrt((a.var().item() + b.var().item()) / n):
        return "the mean"
    excess = max(((a - a.mean()) ** 4).mean().item() / a.var().item() ** 2 - 1, 0)
    ratio = math.log(a.var().item() / b.var().item())
    return "the variance" if abs(ratio) > limit * math.sqrt(2 * excess / n) else ""


def _without_outliers(sample: Tensor) -> Tensor:
    """timm's truncation gives a bound a hundred deviations out wherever its uniform value is exactly -1."""
    middle = sample.median()
    width = 20 * (sample - middle).abs().median()
    return sample.clamp(middle - width, middle + width) if width else sample
