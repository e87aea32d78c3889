"""P-values of test statistics. scipy, which is installed with the extra `verify`, has most of the distributions."""

from __future__ import annotations

import importlib
import math
from functools import cache
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from ..errors import StateError

STEPS = 60
NEAR = 0.02  # Standard errors from the center within which the saddlepoint formula loses its digits.


@cache
def _scipy(part: str) -> Any:
    try:
        return importlib.import_module(f"scipy.{part}")
    except ImportError as error:
        raise StateError('Verification needs scipy: pip install "torch-autoinit[verify]".') from error


def ascending(values: Tensor) -> Tensor:
    """Sorted values on the CPU. numpy takes a tenth of torch's time."""
    _scipy("stats")  # It needs numpy, so numpy is there too; or the error says what to install.
    import numpy

    return torch.from_numpy(numpy.sort(values.cpu().numpy()))


def two_sided(upper: float, lower: float) -> float:
    """The p-value of a statistic from the probabilities of one as large and of one as small."""
    return min(1.0, 2 * min(upper, lower))


def of_chi_square(total: float, freedom: float) -> float:
    """The two-sided p-value of a chi-square statistic."""
    special = _scipy("special")
    return two_sided(float(special.chdtrc(freedom, total)), float(special.chdtr(freedom, total)))


def of_count(count: int, expected: float) -> float:
    """The probability of at least `count` rare events, by Poisson: the binomial tail of that mean is lighter."""
    return float(_scipy("special").pdtrc(count - 1, expected)) if count else 1.0


def of_distance(distance: float, count: int) -> float:
    """The p-value of the two-sided Kolmogorov-Smirnov distance, exact at any number of values."""
    return float(_scipy("stats").kstwo.sf(distance, count))


def of_direction(cosine: float, dimensions: int) -> float:
    """The two-sided p-value of the cosine between a fixed direction and a uniformly random one.

    Its square has the distribution Beta(1/2, (dimensions - 1) / 2).
    """
    if dimensions < 2:
        return 1.0
    return float(_scipy("special").betainc((dimensions - 1) / 2, 0.5, max(1 - cosine**2, 0.0)))


def quantile(tail: float) -> float:
    """The standard normal value that is exceeded with probability `tail`."""
    return -NormalDist().inv_cdf(tail)


def power(pvalue: float, level: float) -> float:
    """The probability that a deviation as large as the one found is found again, at this level and size.

    The statistic is taken as normal around the measured value.

    Example:
        >>> round(power(1e-3, 1e-3), 6), power(0.0, 1e-3)
        (0.5, 1.0)
    """
    if pvalue < 1e-300 or level >= 1:
        return 1.0
    return math.erfc((quantile(level / 2) - quantile(min(pvalue, 1.0) / 2)) / math.sqrt(2)) / 2


def of_mean(mean: float, count: int, nodes: Tensor, weights: Tensor) -> float:
    """The two-sided p-value of the mean of `count` values of a distribution: ascending nodes in float64, with weights.

    Source:
        Lugannani, Rice (1980), "Saddle point approximation for the distribution of the sum of independent random
        variables". The relative error is of the order of 1 / count, at any distance.
    """
    low, high = float(nodes[0]), float(nodes[-1])
    margin = 1e-9 * max(abs(low), abs(high))
    if not low - margin <= mean <= high + margin:
        return 0.0
    if min(mean - low, high - mean) <= margin:  # All values are at one end.
        return float(weights[0 if mean - low <= margin else -1]) ** count
    center = float(weights @ nodes)
    spread = math.sqrt(float(weights @ (nodes - center).square()))
    z = (mean - center) / spread * math.sqrt(count)
    if abs(z) < NEAR:
        # The formula would divide 0 by 0; Edgeworth's series is as accurate there.
        skewness = float(weights @ ((nodes - center) / spread) ** 3) / math.sqrt(count)
        upper = math.erfc(z / math.sqrt(2)) / 2 - skewness / 6 / math.sqrt(2 * math.pi)
        return two_sided(upper, 1 - upper)
    tilt, cumulant, curvature = _saddlepoint(mean, nodes, weights)
    w = math.copysign(math.sqrt(max(2 * count * (tilt * mean - cumulant), 0.0)), tilt)
    u = tilt * math.sqrt(count * curvature)
    if not (w and u):
        return 0.0
    correction = math.exp(-w * w / 2) / math.sqrt(2 * math.pi) * (1 / u - 1 / w)
    upper, lower = (math.erfc(sign * w / math.sqrt(2)) / 2 + sign * correction for sign in (1, -1))
    return max(two_sided(upper, lower), 0.0)


def _saddlepoint(mean: float, nodes: Tensor, weights: Tensor) -> tuple[float, float, float]:
    """The point where the cumulant generating function has the slope `mean`; its value and curvature there."""
    tilt, low, high = 0.0, -math.inf, math.inf
    cumulant, curvature = 0.0, 1.0
    for _ in range(STEPS):
        exponents = tilt * nodes
        shift = float(exponents.max())
        tilted = weights * (exponents - shift).exp()
        total = float(tilted.sum())
        tilted /= total
        at = float(tilted @ nodes)
        cumulant, curvature = shift + math.log(total), float(tilted @ (nodes - at).square())
        if abs(at - mean) <= 1e-9 * math.sqrt(curvature) + 1e-300:
            break
        low, high = (tilt, high) if at < mean else (low, tilt)
        step = tilt + (mean - at) / max(curvature, 1e-300)
        if not low < step < high:
            # Newton's method overshoots where the curvature vanishes, near the ends of the support.
            step = 2 * tilt + math.copysign(1.0, mean - at) if math.inf in (-low, high) else (low + high) / 2
        tilt = step
    return tilt, cumulant, curvature
