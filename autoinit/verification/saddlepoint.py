"""Tail probabilities of the mean of independent values of any distribution, precise far out and for few of them."""

from __future__ import annotations

import math

from torch import Tensor

from .statistics import two_sided

STEPS = 60
NEAR = 0.02
"""Standard errors from the center within which the formula loses its digits."""


def of_mean(mean: float, count: int, nodes: Tensor, weights: Tensor) -> float:
    """The two-sided p-value of the mean of `count` values of a discrete distribution.

    Source:
        Lugannani, Rice (1980), "Saddle point approximation for the distribution of the sum of independent random
        variables". The relative error is of the order of 1 / count, at any distance.

    Args:
        mean: that was observed.
        count: of values.
        nodes: the values of the distribution, in float64.
        weights: their probabilities.

    Example:
        >>> import torch
        >>> die = torch.arange(1, 7, dtype=torch.float64)
        >>> fair = torch.full((6,), 1 / 6, dtype=torch.float64)
        >>> of_mean(3.5, 100, die, fair), of_mean(6.1, 100, die, fair)
        (1.0, 0.0)
        >>> 0.0018 < of_mean(4.03, 100, die, fair) < 0.0019
        True
    """
    low, high = float(nodes[0]), float(nodes[-1])
    margin = 1e-9 * max(abs(low), abs(high))
    if not low - margin <= mean <= high + margin:
        return 0.0
    if min(mean - low, high - mean) <= margin:
        # All of them are at one end, or there is but one value.
        return float(weights[0 if mean - low <= margin else -1]) ** count
    center = float(weights @ nodes)
    spread = math.sqrt(float(weights @ (nodes - center).square()))
    z = (mean - center) / spread * math.sqrt(count)
    if abs(z) < NEAR:
        # Where the formula divides nothing by nothing, Edgeworth's is as good.
        skewness = float(weights @ ((nodes - center) / spread) ** 3) / math.sqrt(count)
        upper = math.erfc(z / math.sqrt(2)) / 2 - skewness / 6 / math.sqrt(2 * math.pi)
        return two_sided(upper, 1 - upper)
    tilt, cumulant, curvature = _saddlepoint(mean, nodes, weights)
    w = math.copysign(math.sqrt(max(2 * count * (tilt * mean - cumulant), 0.0)), tilt)
    u = tilt * math.sqrt(count * curvature)
    if not (w and u):
        return 0.0
    # In logarithms of the density, which underflows long before the tails do.
    density = math.exp(-w * w / 2) / math.sqrt(2 * math.pi)
    correction = density * (1 / u - 1 / w)
    upper = math.erfc(w / math.sqrt(2)) / 2 + correction
    lower = math.erfc(-w / math.sqrt(2)) / 2 - correction
    return max(two_sided(upper, lower), 0.0)


def _saddlepoint(mean: float, nodes: Tensor, weights: Tensor) -> tuple[float, float, float]:
    """Where the derivative of the cumulant generating function is the mean; the function and its curvature there."""
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
