"""Tests of drawn float32 values against their distribution. Each gives p-values by name."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special, stats

from autoinit.sampling import Key, NormalTransform, Sampler, Transform, UniformTransform, derive_key, truncated_normal

CHUNK = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Family:
    """A transform and the distribution that it stands for."""

    transform: Transform
    ideal: stats.rv_continuous


FAMILIES = {
    "uniform": Family(transform=UniformTransform(-1.0, 1.0), ideal=stats.uniform(-1, 2)),
    "normal": Family(transform=NormalTransform(0.0, 1.0), ideal=stats.norm()),
    "trunc normal": Family(transform=truncated_normal(0.0, 1.0, -2.0, 2.0), ideal=stats.truncnorm(-2, 2)),
}


def draw(family: str, count: int, key: Key | None = None) -> np.ndarray:
    out = torch.empty(count)
    Sampler(torch.device("cpu")).draw_into(out, key or derive_key(0, 0, "weight"), FAMILIES[family].transform)
    return out.numpy()


def of_normal(z: float) -> float:
    return float(2 * stats.norm.sf(abs(z)))


def moments(sample: np.ndarray, ideal: stats.rv_continuous) -> dict[str, float]:
    """Raw moments to the sixth."""
    exact = [float(ideal.moment(order)) for order in range(13)]
    sums = np.zeros(7)
    for start in range(0, len(sample), CHUNK):
        part = sample[start : start + CHUNK].astype(np.float64)
        sums += [(part**order).sum() for order in range(7)]
    found = {}
    for order in range(1, 7):
        spread = math.sqrt((exact[2 * order] - exact[order] ** 2) / len(sample))
        found[f"moment {order}"] = of_normal((sums[order] / len(sample) - exact[order]) / spread)
    return found


def shares(sample: np.ndarray, family: str) -> np.ndarray:
    """Sorted values through their CDF: uniform on (0, 1), no nearer to the ends than half a cell of the values."""
    ordered = np.sort(sample).astype(np.float64)
    if family == "uniform":
        ordered = (ordered + 1) / 2
    else:
        special.ndtr(ordered, out=ordered)
        if family == "trunc normal":
            low, high = special.ndtr([-2.0, 2.0])
            ordered = (ordered - low) / (high - low)
    return np.clip(ordered, 2.0**-27, 1 - 2.0**-27, out=ordered)


def kolmogorov_smirnov(ordered: np.ndarray) -> float:
    """The asymptotic p-value of the largest distance."""
    steps = np.arange(len(ordered) + 1) / len(ordered)
    distance = max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max())
    return float(special.kolmogorov(math.sqrt(len(ordered)) * distance))


def anderson_darling_cdf(z: float) -> float:
    """The limit distribution, to six digits (Marsaglia and Marsaglia, Journal of Statistical Software 9(2), 2004)."""
    if z < 2:
        series = 2.00012 + (0.247105 - (0.0649821 - (0.0347962 - (0.0116720 - 0.00168691 * z) * z) * z) * z) * z
        return math.exp(-1.2337141 / z) / math.sqrt(z) * series
    inner = 1.0776 - (2.30695 - (0.43424 - (0.082433 - (0.008056 - 0.0003146 * z) * z) * z) * z) * z
    return math.exp(-math.exp(inner))


def anderson_darling(ordered: np.ndarray) -> float:
    """The asymptotic p-value, of which 1e-5 is the least that means something."""
    count, total = len(ordered), 0.0
    for start in range(0, count, CHUNK):
        low = ordered[start : start + CHUNK]
        high = ordered[::-1][start : start + CHUNK]
        total += float(((2 * np.arange(start, start + len(low)) + 1.0) * (np.log(low) + np.log1p(-high))).sum())
    return 1 - anderson_darling_cdf(-count - total / count)


def tails(sample: np.ndarray) -> dict[str, float]:
    """How many normal values lie beyond 2, 3, 4 and 5 standard deviations, on each side."""
    found = {}
    for bound in (2, 3, 4, 5, 6):
        for side in (-1, 1):
            count = int((side * sample > bound).sum())
            mean = len(sample) * float(stats.norm.sf(bound))
            both = 2 * min(stats.poisson.cdf(count, mean), stats.poisson.sf(count - 1, mean), 0.5)
            found[f"beyond {side * bound} sigma"] = float(both)
    return found


def lags(sample: np.ndarray, ideal: stats.rv_continuous) -> dict[str, float]:
    """Correlation of values, and of their squares, with those 2**k later, k = 0..20."""
    mean, variance = (float(x) for x in ideal.stats("mv"))
    values = ((sample - mean) / math.sqrt(variance)).astype(np.float64)
    fourth = float(ideal.moment(4)) / variance**2
    squares = (values**2 - 1) / math.sqrt(fourth - 1)
    found = {}
    for lag in (1 << k for k in range(21) if 2 << k <= len(sample)):
        for name, row in (("values", values), ("squares", squares)):
            z = float(row[lag:] @ row[:-lag]) / math.sqrt(len(row) - lag)
            found[f"{name}, lag {lag}"] = of_normal(z)
    return found


def between(keys: list[Key], count: int) -> dict[str, float]:
    """The largest correlation between two parameters, and the sum of the squares of all."""
    rows = np.stack([draw("normal", count, key) for key in keys]).astype(np.float64)
    z = (rows @ rows.T)[np.triu_indices(len(keys), 1)] / math.sqrt(count)
    total = float((z**2).sum())
    both = 2 * min(stats.chi2.cdf(total, len(z)), stats.chi2.sf(total, len(z)))
    return {"largest": min(1.0, of_normal(float(np.abs(z).max())) * len(z)), "all": float(both)}
