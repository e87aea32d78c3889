"""`python -m tests.statistics.fit`: the coefficients of `autoinit/sampling/normal_quantile.py`, fitted again.

Each formula is a sum of rising terms with coefficients that are not negative, so that it stays monotone when every step
is rounded: powers and poles for the centre, poles for the logarithm and for the tail. Non-negative least squares finds
the coefficients for given poles, weights that grow where the error is large make it a minimax fit, and Nelder and Mead
move the poles. The float32 numbers in the package were then moved by single units in the last place, at random, as long
as that made the largest error of the rounded formula smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from autoinit.sampling import normal_quantile

Floats = NDArray[np.float64]
Basis = Callable[[Sequence[float]], Floats]


def chebyshev(low: float, high: float, count: int = 2000) -> Floats:
    """Points that lie closer together towards the ends."""
    angles = np.pi * (np.arange(count) + 0.5) / count
    return np.asarray(low + (high - low) * (1 - np.cos(angles)) / 2)


def minimax(basis: Floats, target: Floats, rounds: int = 60) -> tuple[float, Floats]:
    """Non-negative coefficients with a small largest relative error; the error, and they."""
    weights, best = np.ones(len(target)), (np.inf, np.zeros(basis.shape[1]))
    sizes = np.abs(basis).max(0)
    for _ in range(rounds):
        found = optimize.nnls(basis / sizes * (weights / target)[:, None], weights)[0] / sizes
        errors = np.abs(basis @ found / target - 1)
        if errors.max() < best[0]:
            best = float(errors.max()), found
        weights = weights * np.sqrt(errors / errors.max() + 1e-3) ** 0.7
        weights /= weights.max()
    return best


def with_poles(basis: Basis, target: Floats, start: Sequence[float], least: float) -> tuple[float, Floats, Floats]:
    """The error, the coefficients and the poles, which stay above -`least`."""

    def error(logs: Floats) -> float:
        return float(np.log(minimax(basis(np.exp(logs) - least), target, 25)[0]))

    found = optimize.minimize(
        error, np.log(np.add(start, least)), method="Nelder-Mead", options=dict(maxiter=300, xatol=1e-4, fatol=1e-4)
    )
    poles = np.exp(found.x) - least
    return (*minimax(basis(poles), target, 150), poles)


def centre() -> tuple[float, Floats, Floats]:
    """Of the quantile over the place: powers of the squared place, and two poles."""
    square = chebyshev(0, (1 - normal_quantile.SEAM) ** 2)
    place = np.sqrt(square)
    target = np.sqrt(2) * special.erfinv(place) / place
    powers = [square**power for power in range(7)]
    return with_poles(
        lambda poles: np.stack([*powers, *(1 / (1 - square + pole) for pole in poles)], 1), target, (0.0216, 0.159), 0
    )


def tail() -> tuple[float, Floats, Floats]:
    """Of the quantile over the root of the logarithm: a number less five poles, down to the smallest float32."""
    log = chebyshev(-np.log(normal_quantile.SEAM), 126 * np.log(2))
    target = -special.ndtri_exp(-log - np.log(2)) / np.sqrt(log)
    start = (0.457, 1.479, 5.25, 20.5, 107)
    return with_poles(
        lambda poles: np.stack([np.ones_like(log), *(-1 / (log + pole) for pole in poles)], 1), target, start, 2.9
    )


def logarithm() -> tuple[float, Floats, Floats]:
    """Of 3 less the logarithm, on [1, 2): its relative errors are absolute ones of the logarithm, but for a factor."""
    fraction = chebyshev(1, 2)
    start = (0.146, 1.206, 9.86)
    return with_poles(
        lambda poles: np.stack([-np.ones_like(fraction), *(1 / (fraction + pole) for pole in poles)], 1),
        3 - np.log(fraction),
        start,
        0.9,
    )


if __name__ == "__main__":
    for fit in (centre, tail, logarithm):
        error, coefficients, poles = fit()
        print(f"{fit.__name__}: {error:.1e}\n  {coefficients.tolist()}\n  poles {poles.tolist()}")
