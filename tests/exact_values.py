"""The definition of version 2 again, in NumPy's float32: one rounded operation after the other (`docs/sampling.md`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoinit.sampling import normal_quantile
from autoinit.sampling.truncation import Places

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
F = np.float32


def poles(numbers: tuple[tuple[float, float], ...], at: Floats) -> Floats:
    total = F(numbers[-1][0]) / (at + F(numbers[-1][1]))
    for numerator, shift in numbers[-2::-1]:
        total = total + F(numerator) / (at + F(shift))
    return total


def central(place: Floats) -> Floats:
    square = place * place
    rest = F(1) - square
    total = square * F(normal_quantile.SMOOTH[6])
    for number in (5, 4, 3, 2, 1):
        total = (total + F(normal_quantile.SMOOTH[number])) * square
    (sharp, below), (wide, far_below) = (map(F, pole) for pole in normal_quantile.POLES)
    total = (total + F(normal_quantile.SMOOTH[0])) + wide / (rest + far_below)
    return np.minimum(total * place + (sharp / (rest + below)) * place, F(normal_quantile.AT_SEAM))


def outer(rest: Floats) -> Floats:
    fraction, exponent = np.frexp(rest)
    log = poles(normal_quantile.LOG_POLES, fraction * F(2)) - F(normal_quantile.LOG_LEVEL)
    log = (1 - exponent).astype(F) * F(normal_quantile.LOG_2) + log
    slope = F(normal_quantile.TAIL_LEVEL) - poles(normal_quantile.TAIL_POLES, log)
    return np.maximum(np.sqrt(log) * slope, F(normal_quantile.AT_SEAM))


def standard(bits: Integers, places: Places) -> Floats:
    """The standard normal numbers at the places of some bits."""
    bits = bits.astype(np.int64)
    upper = bits >= places.first
    found = np.zeros(bits.shape, F)
    for side, here, inwards, outwards in (
        (places.upper, upper, bits - places.first, 2**31 - 1 - bits),
        (places.lower, ~upper, places.first - 1 - bits, bits + 2**31),
    ):
        values = central(inwards[here].astype(F) * F(places.step) + F(side.inner))
        in_tail = outwards[here] < side.below
        values[in_tail] = outer(outwards[here][in_tail].astype(F) * F(places.step) + F(side.rest))
        found[here] = values if side is places.upper else -values
    return found


def scaled(values: Floats, mean: float, std: float) -> Floats:
    values = values * F(std)
    return values + F(mean) if mean else values
