"""The distributions of test statistics, from scipy, which is installed with the extra `verify`."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..errors import StateError


@cache
def _scipy() -> tuple[Any, Any]:
    """`scipy.special`, and of `scipy.stats` the one distribution that is not there.

    Raises:
        StateError: scipy is not installed.
    """
    try:
        from scipy import special
        from scipy.stats import kstwo
    except ImportError as error:
        raise StateError('Verification needs scipy: pip install "torch-autoinit[verify]".') from error
    return special, kstwo


def ascending(values: Tensor) -> Tensor:
    """Values in order, on the CPU: by numpy, which takes a tenth of the time that torch takes for it.

    Example:
        >>> ascending(torch.tensor([3.0, 1.0, 2.0])).tolist()
        [1.0, 2.0, 3.0]
    """
    _scipy()  # which brings numpy along, or is an error that says what to install
    import numpy

    return torch.from_numpy(numpy.sort(values.cpu().numpy()))


def two_sided(upper: float, lower: float) -> float:
    """The p-value of a statistic from the probabilities of one as large and of one as small."""
    return min(1.0, 2 * min(upper, lower))


def of_normal(z: float) -> float:
    """The two-sided p-value of a standard normal statistic.

    Example:
        >>> round(of_normal(1.96), 4)
        0.05
    """
    return math.erfc(abs(z) / math.sqrt(2))


def of_chi_square(total: float, freedom: float) -> float:
    """The two-sided p-value of a chi-square statistic.

    Example:
        >>> of_chi_square(100.0, 100) > 0.9
        True
    """
    special, _ = _scipy()
    return two_sided(float(special.chdtrc(freedom, total)), float(special.chdtr(freedom, total)))


def of_count(count: int, expected: float) -> float:
    """The probability of at least so many rare events.

    Source:
        Poisson's distribution, of which the binomial one with this mean has the lighter tail.

    Example:
        >>> round(of_count(1, 0.01), 6)
        0.00995
    """
    special, _ = _scipy()
    return float(special.pdtrc(count - 1, expected)) if count else 1.0


def of_distance(distance: float, count: int) -> float:
    """The p-value of Kolmogorov and Smirnov's two-sided distance, exact at any number of values.

    Source:
        Simard, L'Ecuyer (2011), "Computing the two-sided Kolmogorov-Smirnov distribution", as in `scipy.stats.kstwo`.

    Example:
        >>> round(of_distance(0.5, 1), 6)  # One value is always half a step away, at least.
        1.0
    """
    _, kstwo = _scipy()
    return float(kstwo.sf(distance, count))


def of_direction(cosine: float, dimensions: int) -> float:
    """The two-sided p-value of the cosine between a fixed direction and a uniformly random one.

    Its square has the distribution Beta(1/2, (dimensions - 1) / 2).

    Example:
        >>> round(of_direction(0.5, 3), 6)  # On the sphere each coordinate is uniform (Archimedes).
        0.5
    """
    if dimensions < 2:
        return 1.0
    special, _ = _scipy()
    return float(special.betainc((dimensions - 1) / 2, 0.5, max(1 - cosine**2, 0.0)))


def quantile(tail: float) -> float:
    """How far out a standard normal value is that is exceeded with probability `tail`."""
    return -float(torch.special.ndtri(torch.tensor(tail, dtype=torch.float64, device="cpu")))


def power(pvalue: float, level: float) -> float:
    """With what probability a deviation as large as the one found is found again, at this level and size.

    The statistic is taken as normal around what was measured.

    Example:
        >>> round(power(1e-3, 1e-3), 6), power(0.0, 1e-3)
        (0.5, 1.0)
    """
    if pvalue <= 0 or level >= 1:
        return 1.0
    return math.erfc((quantile(level / 2) - quantile(min(pvalue, 1.0) / 2)) / math.sqrt(2)) / 2
