"""Constants of truncated normal distributions, computed with 50 digits so that every platform rounds them alike."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, TypeVar

from .normal_quantile import SEAM

T = TypeVar("T")

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")
HALF = Decimal("0.5")
# The widest exponents, for densities a million standard deviations from the mean.
_CONTEXT = Context(prec=50, Emin=-(10**17), Emax=10**17)


def float32(value: float | Decimal) -> float:
    """Round a number to the nearest float32."""
    return ctypes.c_float(float(value)).value


def exactly(function: Callable[..., T]) -> Callable[..., T]:
    """Decorator: evaluate a function with 50 decimal digits, and cache the result."""

    def computed(*args: object) -> T:
        with localcontext(_CONTEXT):
            return function(*args)

    return lru_cache(maxsize=1024)(computed)


def mills(z: Decimal) -> Decimal:
    """Mills ratio: the normal tail probability beyond z >= 0 divided by the density at z."""
    if z < 6:
        term = total = z
        for odd in range(3, 400, 2):
            term = term * z * z / odd
            total += term
        return (2 * PI).sqrt() / 2 * (z * z / 2).exp() - total
    fraction = z
    for step in range(150, 0, -1):
        fraction = z + step / fraction
    return 1 / fraction


def two_tails(z: Decimal) -> Decimal:
    """P(|Z| > z) of a standard normal Z for z >= 0; 2 - P(|Z| > -z) for z < 0."""
    if z < 0:
        return 2 - two_tails(-z)
    if not z.is_finite():
        return Decimal(0)
    return 2 * (-z * z / 2).exp() / (2 * PI).sqrt() * mills(z)


class Side(NamedTuple):
    """The map from random bits to places on one side of the median."""

    inner: float = 0.0  # Place of the bits next to the median, a float32.
    rest: float = 0.0  # Distance from 1 of the place of the outermost bits, a float32.
    below: int = 0  # Number of outermost bits in the tail.


class Places(NamedTuple):
    """The even map from 32-bit integers to places in an interval of (-1, 1), from the median outwards."""

    first: int = 0  # Least bits above the median, as a signed integer.
    step: float = 0.0  # Distance of neighbours, a float32.
    lower: Side = Side()
    upper: Side = Side()


@exactly
def places_between(mean: float, std: float, low: float, high: float) -> Places:
    """The places of a normal distribution truncated at two bounds, either of which may be infinite."""
    alpha, beta = ((Decimal(bound) - Decimal(mean)) / Decimal(std) for bound in (low, high))
    rest_low, rest_high = two_tails(-alpha), two_tails(beta)
    bottom, step = rest_low - 1, (2 - rest_high - rest_low) / 2**32
    crossing = min(max(math.ceil(-bottom / step - HALF), 0), 2**32)
    inner = bottom + (crossing + HALF) * step
    return Places(crossing - 2**31, float32(step), _side(step - inner, rest_low, step), _side(inner, rest_high, step))


def _side(inner: Decimal, beyond: Decimal, step: Decimal) -> Side:
    rest, size = float32(beyond + step / 2), float32(step)
    below = math.ceil((Fraction(SEAM) - Fraction(rest)) / Fraction(size))
    return Side(float32(inner), rest, min(max(below, 0), 2**32))


class Excess(NamedTuple):
    """Polynomial for the distance from the nearer bound, where both bounds are on one side of the mean."""

    share: float  # Part of the probability beyond the nearer bound that is between the two.
    is_log: bool  # The argument is `-log(1 - y * share)` instead of the share y of the interval itself.
    largest: float  # Largest argument.
    coefficients: tuple[float, ...]  # Chebyshev coefficients of the excess over the argument, from 0 to the largest.


NODES = 16


@exactly
def excess_between(mean: float, std: float, low: float, high: float) -> Excess:
    """Fit the polynomial for two bounds on one side of the mean, in standard deviations."""
    alpha, beta = ((Decimal(bound) - Decimal(mean)) / Decimal(std) for bound in (low, high))
    near, far = (alpha, beta) if alpha > 0 else (-beta, -alpha)
    beyond = (-_log_ratio(near, far - near)).exp() if far.is_finite() else Decimal(0)
    share = 1 - beyond
    is_log = share > HALF
    longest = 33 * Decimal(2).ln()
    largest = min(-beyond.ln(), longest) if is_log and beyond else longest if is_log else Decimal(1)
    cosines = _cosines()
    values = []
    for node in range(NODES):
        at = largest * (1 + cosines[2 * node + 1]) / 2
        values.append(_excess(near, at if is_log else -(1 - at * share).ln()) / at)
    coefficients = []
    for order in range(NODES):
        angles = (order * (2 * node + 1) % (4 * NODES) for node in range(NODES))
        total = sum((value * cosines[angle] for value, angle in zip(values, angles, strict=True)), Decimal(0))
        coefficients.append(float(total / NODES * (2 if order else 1)))
    return Excess(float(share), is_log, float(largest), tuple(coefficients))


def _log_ratio(near: Decimal, excess: Decimal) -> Decimal:
    """-log(tail(near + excess) / tail(near))."""
    return near * excess + excess * excess / 2 - (mills(near + excess) / mills(near)).ln()


def _excess(near: Decimal, log: Decimal) -> Decimal:
    """Solve `_log_ratio(near, excess) == log` for the excess by Newton's method."""
    excess = (near * near + 2 * log).sqrt() - near
    for _ in range(8):
        excess -= (_log_ratio(near, excess) - log) * mills(near + excess)
    return excess


def _cosines() -> list[Decimal]:
    """Cosines of the multiples of pi / (2 * NODES) below 2 pi, by angle halving and recurrence."""
    first = Decimal(0)
    for _ in range((2 * NODES).bit_length() - 2):
        first = ((1 + first) / 2).sqrt()
    cosines = [Decimal(1), first]
    while len(cosines) < 4 * NODES:
        cosines.append(2 * first * cosines[-1] - cosines[-2])
    return cosines
