"""What can be said of values without knowing what they should be: whether they are values at all."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .distribution_tests import nonfinite
from .scanning import spread_sample, summarize
from .verdict import Finding, impossible

ENOUGH = 64
SAMPLE = 1 << 12
FAR = 50.0
"""Robust standard deviations from the median at which a value is no value of its tensor.

It has no false-alarm rate: no network is initialized with such heavy tails unless a rule asks for them."""
TOO_MANY = 0.01
"""A share of subnormal values that no scheme and no training leaves."""


def audit(tensor: Tensor) -> Iterator[Finding]:
    """NaN, infinities, memory that was never written, and outliers.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> values = torch.randn(1000) * 0.02
        >>> values[7] = -2.0
        >>> [found.text for found in audit(values)]
        ['-2 is 103 robust standard deviations from the median']
    """
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point() or not tensor.numel():
        return
    summary = summarize(tensor)
    if summary.nonfinite:
        yield nonfinite(summary)
        return
    if summary.subnormal > TOO_MANY * summary.count and tensor.dtype in (torch.float32, torch.float64, torch.bfloat16):
        text = f"{summary.subnormal:,} of {summary.count:,} values are subnormal, as in memory that was never written"
        yield impossible("written", text, summary.subnormal / summary.count)
    if summary.count < ENOUGH:
        return
    levels = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64, device=tensor.device)
    first, median, third = spread_sample(tensor, SAMPLE).quantile(levels).tolist()
    robust = (third - first) / 1.349
    worst = max((summary.low, summary.high), key=lambda end: abs(end - median))
    if robust and abs(worst - median) > FAR * robust:
        out = abs(worst - median) / robust
        yield impossible("outlier", f"{worst:.4g} is {out:.3g} robust standard deviations from the median", out)
