"""From 32 random bits to a float32 of a distribution, by inversion: one monotone formula each, no rejection.

Every multiplication and addition is a pass of its own. A fused multiply-add would round once instead of twice,
and whether a kernel fuses depends on the processor and on where a slice begins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from .truncation import float32


class Transform(ABC):
    """Function from the int32 numbers of a stream to values."""

    @abstractmethod
    def __call__(self, bits: Tensor, out: Tensor) -> None:
        """Write one float32 to the contiguous tensor `out` for each int32 in `bits`."""


def spread(bits: Tensor, out: Tensor, half: float, middle: float) -> None:
    """`bits * 2**-31 * half + middle`, of which the conversion, the product and the sum each round to float32."""
    # Integers beyond 24 bits are rounded to the nearest float32, the outermost to 2**31 on either side.
    out.copy_(bits)
    if half < 2.0**-95:
        # The product of the two factors would be subnormal, and short of digits.
        out.mul_(2.0**-31).mul_(half)
    else:
        out.mul_(half * 2.0**-31)
    if middle:
        out.add_(middle)


def within(low: float, high: float) -> tuple[float, float]:
    """Half width and middle of [low, high], such that rounded values never leave the interval."""
    low, high = float32(low), float32(high)
    half, middle = float32((high - low) / 2), float32(low / 2 + high / 2)
    while not low <= float32(middle - half) <= float32(middle + half) <= high:
        # Where float32 is subnormal the relative step rounds to nothing.
        half = min(float32(half * (1 - 2.0**-23)), max(half - 2.0**-149, 0.0))
    return half, middle


@dataclass(frozen=True)
class UniformTransform(Transform):
    """Uniform over [low, high], both rounded to float32."""

    low: float
    high: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "affine", within(self.low, self.high))

    affine = (0.0, 0.0)

    def __call__(self, bits: Tensor, out: Tensor) -> None:
        spread(bits, out, *self.affine)
