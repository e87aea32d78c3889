"""Mean, variance and norm of a tensor, as numbers that add up over the calls of a module."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SQUARES_FIT = (1e-15, 1e15)
"""Between these the square of a float32 is one that is neither subnormal nor infinite."""


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and variance of the finite values of a tensor, and how many are not finite.

    Args:
        count: of the finite values.
        nonfinite: how many are NaN or infinite.
        mean: of the finite ones.
        squares: the sum of the squares of their deviations from the mean.
    """

    count: int = 0
    nonfinite: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def __add__(self, other: Moments) -> Moments:
        """The moments of both tensors as one.

        Source:
            Chan, Golub, LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances".
        """
        count = self.count + other.count
        apart = other.mean - self.mean
        share = other.count / count if count else 0.0
        return Moments(
            count=count,
            nonfinite=self.nonfinite + other.nonfinite,
            mean=self.mean + apart * share,
            squares=self.squares + other.squares + apart * apart * self.count * share,
        )

    @property
    def std(self) -> float | None:
        """None if no value is finite."""
        return math.sqrt(self.squares / self.count) if self.count else None

    @property
    def rms(self) -> float | None:
        """The root of the mean square; None if no value is finite."""
        return math.hypot(math.sqrt(self.squares / self.count), self.mean) if self.count else None

    @property
    def norm(self) -> float:
        """Euclidean; NaN if a value is not finite."""
        return math.nan if self.nonfinite else math.hypot(math.sqrt(self.squares), math.sqrt(self.count) * self.mean)


NOTHING = Moments()


def moments(tensor: Tensor) -> Moments:
    """Measure a tensor, in float32 or better, however large or small its values are.

    Example:
        >>> found = moments(torch.tensor([1e-30, 3e-30, float("nan")]))
        >>> found.count, found.nonfinite, f"{found.mean:.3g}", f"{found.std:.3g}"
        (2, 1, '2e-30', '1e-30')
    """
    values = _as_floats(tensor)
    if not values.numel():
        return NOTHING
    low, high = (end.item() for end in torch.aminmax(values))
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = values[torch.isfinite(values)]
        return moments(finite) + Moments(nonfinite=values.numel() - finite.numel())
    largest = max(abs(low), abs(high))
    scale = 1.0 if not largest or SQUARES_FIT[0] < largest < SQUARES_FIT[1] else largest
    variance, mean = torch.var_mean(values if scale == 1.0 else values / scale, correction=0)
    squares = variance.item() * scale * scale * values.numel()
    return Moments(count=values.numel(), mean=mean.item() * scale, squares=squares)


def _as_floats(tensor: Tensor) -> Tensor:
    values = tensor.detach()
    if values.is_sparse:
        values = values.coalesce().values()
    if values.is_complex():
        values = torch.view_as_real(values)
    return values if values.dtype in (torch.float32, torch.float64) else values.float()
