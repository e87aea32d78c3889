"""Whether what a rule filled has the distribution that the report promises, at one error rate for a whole sweep.

The tests are those of `closed_form`. Each is made at a level of `FALSE_ALARM / MOST_TESTS`, so that the probability of
any false alarm in a sweep of up to `MOST_TESTS` tests is at most `FALSE_ALARM`, however the tests depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from autoinit.fills import Constant, Elementwise, Fill

from ..closed_form import ENOUGH_FOR_MOMENTS, bitwise_equal, mean_pvalue, pvalues, variance_pvalue

FALSE_ALARM = 1e-3
MOST_TESTS = 10_000_000
LEVEL = FALSE_ALARM / MOST_TESTS
# An error of 2 % in the standard deviation of this many values is found with certainty at that level, and a tensor of a
# hundred million values costs no more than this one.
SAMPLE = 1 << 16


class Distributions:
    """Tests tensors against fills, and counts the tests."""

    def __init__(self, sample: int = SAMPLE) -> None:
        self.sample = sample
        self.tests = 0

    def deviations(self, values: Tensor, fill: Fill | None) -> Iterator[str]:
        """What is wrong with a tensor, in words."""
        values = values.detach()
        if not values.numel():
            return
        if isinstance(fill, Constant):
            self.tests += 1
            if not bitwise_equal(values, torch.full_like(values, fill.value)):
                yield f"not all {fill.value}"
            return
        if not isinstance(fill, Elementwise):
            raise TypeError(f"no closed form for {fill}")
        if not bool(values.isfinite().all()):
            yield "not all finite"
            return
        for test, pvalue in self._pvalues(spread(values, self.sample), fill).items():
            self.tests += 1
            if pvalue < LEVEL:
                yield f"{test} has p={pvalue:.2g} under {fill}"

    @staticmethod
    def _pvalues(values: Tensor, fill: Elementwise) -> dict[str, float]:
        if values.dtype == torch.float32:
            return pvalues(values, fill)
        if values.numel() < ENOUGH_FOR_MOMENTS:
            return {}
        # Rounded to few digits, many values are equal: their moments are right, their CDF is a staircase.
        return {"mean": mean_pvalue(values.double(), fill), "variance": variance_pvalue(values.double(), fill)}


def spread(values: Tensor, count: int) -> Tensor:
    """At most so many of a tensor's values, from all over it.

    Not every n-th: where n has a factor in common with the row's length, these would be from a few columns.
    """
    total = values.numel()
    if total <= count:
        return values.flatten()
    step = next(step for step in range(total // count, total) if math.gcd(step, total) == 1)
    return values.flatten()[torch.arange(count) * step % total]
