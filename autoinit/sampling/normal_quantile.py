"""The normal quantile as a fixed sequence of float32 operations.

Each addition, multiplication, division and square root is rounded on its own, and nothing else is used: no fused
multiply-add, no `erfinv`, no `log`. So a processor, a GPU and the C kernel give the same bits. Every step is monotone
as it is rounded (sums and products of what only rises, quotients by what only falls), and so is the whole.

The coefficients are fitted by `tests/statistics/fit.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SEAM = 0.045499999076128006
"""Distance from 1 of the place at which the tail begins: just less than two standard deviations."""
AT_SEAM = 2.000002384185791  # The quantile at the seam: upper limit of the centre, lower limit of the tail.

SMOOTH = (
    1.1458989381790161,
    0.23328453302383423,
    0.09652970731258392,
    0.04689759016036987,
    0.031024115160107613,
    0.0007327040657401085,
    0.021936742588877678,
)
"""Coefficients of the powers of the squared place."""
POLES = ((0.01900535821914673, 0.021676277741789818), (0.10293907672166824, 0.15905451774597168))
"""Poles of the centre: numerators, and summands of the denominators."""

LOG_2 = 0.6931471824645996
LOG_LEVEL = 3.900850772857666
LOG_POLES = (
    (0.41087570786476135, 0.14569199085235596),
    (2.2018463611602783, 1.2055543661117554),
    (27.61553192138672, 9.85556697845459),
)
"""Poles of -log(x) for x in [1, 2)."""

TAIL_LEVEL = 1.4134801626205444
TAIL_POLES = (
    (0.31607872247695923, 0.4566324055194855),
    (0.48221555352211, 1.4790023565292358),
    (0.44733020663261414, 5.249680042266846),
    (0.496712863445282, 20.53726577758789),
    (0.7053382992744446, 107.0208740234375),
)
"""Poles of quantile / sqrt(-log(tail probability))."""


def central_(places: Tensor) -> None:
    """Quantiles of places in [0, 1), in-place: exact up to 1 - SEAM, and AT_SEAM beyond.

    A place is twice the probability between the median and the quantile, as a float32.
    """
    square = places * places
    total = square * SMOOTH[-1]
    for coefficient in SMOOTH[-2:0:-1]:
        total.add_(coefficient).mul_(square)
    total.add_(SMOOTH[0])
    rest = torch.sub(1, square, out=square)
    sharp, wide = POLES
    total.add_(_pole(wide, rest)).mul_(places)
    torch.add(total, _pole(sharp, rest).mul_(places), out=places)
    places.clamp_(max=AT_SEAM)


def outer(rests: Tensor) -> Tensor:
    """Quantiles of places given by their distance from 1, as normal float32: exact below SEAM, and AT_SEAM above."""
    if rests.device.type == "mps":  # It has no float64.
        return outer(rests.cpu()).to(rests.device)
    words = rests.view(torch.int32)
    doublings = (127 - (words >> 23)).to(torch.float32)
    fractions = ((words & 0x7FFFFF) | 0x3F800000).view(torch.float32)
    log = _sum_of_poles(LOG_POLES, fractions).sub_(LOG_LEVEL)
    log = doublings.mul_(LOG_2).add_(log)
    slope = TAIL_LEVEL - _sum_of_poles(TAIL_POLES, log)
    # On CPUs torch.sqrt of float32 is not rounded to the nearest; of float64 it is near enough.
    return log.to(torch.float64).sqrt_().to(torch.float32).mul_(slope).clamp_(min=AT_SEAM)


def _pole(pole: tuple[float, float], at: Tensor) -> Tensor:
    below = at + pole[1]
    return torch.div(torch.tensor(pole[0], dtype=torch.float32, device="cpu"), below, out=below)


def _sum_of_poles(poles: Sequence[tuple[float, float]], at: Tensor) -> Tensor:
    """From the last to the first, the smallest terms first."""
    total = _pole(poles[-1], at)
    for pole in poles[-2::-1]:
        total.add_(_pole(pole, at))
    return total
