"""Whether values are independent draws of a distribution that is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..fills import Elementwise
from .laws import Law, law_of
from .saddlepoint import of_mean
from .scanning import Summary, spread_sample, summarize
from .statistics import ascending, of_chi_square, of_count, of_distance, of_normal, two_sided
from .verdict import Finding, impossible

ENOUGH = 8
"""Of fewer values a mean and a variance say little that their shape and range do not, and only those are exact."""

VARIANCE = 3.0
"""The weight of its test: with mean, shape and range beside it, half of the false alarms of a parameter."""

SAMPLE = 1 << 15
"""The shape is judged by so many values at most: sorting more takes longer than drawing them did."""

CAREFUL = 8
"""How many times its usual size an error is that slack allows for."""

BLUR = 0.1
"""What an error of the usual size may be of the standard deviation."""


def elementwise(tensor: Tensor, fill: Elementwise, slack: float = 0.0) -> Iterator[Finding]:
    """The tests of a floating tensor of any strides against the fill that it was to get; see `findings_of`.

    Example:
        >>> from autoinit.fills import Normal
        >>> _ = torch.manual_seed(0)
        >>> [
        ...     found.test
        ...     for found in elementwise(torch.randn(100, 100) * 1.1, Normal(0.0, 1.0))
        ...     if found.pvalue < 1e-6
        ... ]
        ['variance', 'shape']
    """
    if not tensor.numel():
        return
    law = law_of(fill, drawn_as(tensor))
    summary = summarize(tensor, law.mean, law.std or 1.0)
    if summary.nonfinite:
        yield nonfinite(summary)
        return
    yield _range(summary, law, slack)
    if slack / CAREFUL * abs(law.mean) > BLUR * law.std:
        return  # Steps of the dtype as wide as the distribution: a rounding more is a distribution of its own.
    if law.std and summary.count >= ENOUGH:
        yield _mean(summary, law)
        yield _variance(summary, law)
    yield _shape(tensor, law)
    if summary.subnormal:
        yield _subnormal(summary, law, tensor.dtype)


def drawn_as(tensor: Tensor) -> torch.dtype:
    """The dtype that values were rounded to: float32 where nothing in float64 says that they ever were any other."""
    if tensor.dtype != torch.float64:
        return tensor.dtype
    sample = spread_sample(tensor, SAMPLE)
    return torch.float32 if torch.equal(sample, sample.float().double()) else torch.float64


def nonfinite(summary: Summary) -> Finding:
    """NaN and infinite values are no draws of anything."""
    return impossible("finite", f"{summary.nonfinite:,} of {summary.count:,} values are NaN or infinite", 1.0)


def _mean(summary: Summary, law: Law) -> Finding:
    count, average = summary.count, summary.first / summary.count
    z = average * math.sqrt(count)
    pvalue = of_normal(z) if law.is_normal else of_mean(average, count, *law.nodes)
    expected = law.mean if abs(law.mean) > 1e-9 * law.std else 0.0
    text = f"mean {law.mean + average * law.std:.6g}, not {expected:.6g}: off by {average:+.3g} std"
    return Finding(test="mean", pvalue=pvalue, statistic=z, effect=average, text=text)


def _variance(summary: Summary, law: Law) -> Finding:
    count, square = summary.count, summary.second / summary.count
    if law.is_normal:
        pvalue = of_chi_square(summary.second, count)
    else:
        nodes, weights = law.nodes
        squares, order = nodes.square().sort()
        pvalue = of_mean(square, count, squares, weights[order])
    ratio = math.sqrt(square)
    text = f"std {ratio * law.std:.6g}, not {law.std:.6g}: off by {100 * (ratio - 1):+.3g} %"
    return Finding(
        test="variance", pvalue=pvalue, statistic=summary.second, effect=ratio - 1, text=text, weight=VARIANCE
    )


def _shape(tensor: Tensor, law: Law) -> Finding:
    values = ascending(spread_sample(tensor, SAMPLE))
    count = values.numel()
    # Of equal values the last decides above, the first under; what the others say is less.
    after = torch.arange(1, count + 1, dtype=torch.float64, device="cpu") / count
    below, up_to = law.around(values)
    above, under = after - up_to, below - after + 1 / count
    distance = max(float(above.max()), float(under.max()))
    where = float(values[int(torch.maximum(above, under).argmax())])
    text = f"a share of {distance:.3g} of the values is on the wrong side of {where:.4g}"
    return Finding(test="shape", pvalue=of_distance(distance, count), statistic=distance, effect=distance, text=text)


def _range(summary: Summary, law: Law, slack: float) -> Finding:
    low, high = law.support
    if summary.low < low - slack * abs(low) or summary.high > high + slack * abs(high):
        worst = summary.low if low - summary.low > summary.high - high else summary.high
        out = abs(worst - law.mean) / law.std if law.std else math.inf
        return impossible("range", f"{worst:.6g} cannot be: it is out of bounds, {out:.3g} std from the mean", out)
    within = replace(summary, low=max(summary.low, low), high=min(summary.high, high))
    sides = zip(_extremes(within, law, slack), (-1, 1), strict=True)
    pvalue, side = min(sides)
    worst = summary.low if side < 0 else summary.high
    name = "smallest" if side < 0 else "largest"
    out = (worst - law.mean) / law.std if law.std else 0.0
    text = f"the {name} of {summary.count:,} values is {worst:.6g}, {abs(out):.3g} std from the mean"
    return Finding(test="range", pvalue=min(1.0, 2 * pvalue), statistic=out, effect=out, text=text)


def _extremes(summary: Summary, law: Law, slack: float) -> tuple[float, float]:
    """The two-sided p-values of the smallest and of the largest value."""
    ends = torch.tensor([summary.low, summary.high], dtype=torch.float64, device="cpu")
    steps = law.resolution + slack / CAREFUL * ends.abs()
    inner = ends + steps * torch.tensor([1, -1], dtype=torch.float64, device="cpu")
    below, up_to = (shares.tolist() for shares in law.around(torch.cat([ends, inner])))
    # For either end the share at least as far out, and the share strictly farther out.
    smallest = _extreme(summary.count, reached=up_to[2], beyond=below[0])
    return smallest, _extreme(summary.count, reached=1 - below[3], beyond=1 - up_to[1])


def _extreme(count: int, *, reached: float, beyond: float) -> float:
    farther = -math.expm1(count * math.log1p(-reached)) if reached < 1 else 1.0
    # Generators of 24 bits have nothing beyond their last cell.
    beyond = max(beyond - 2.0**-22, 0.0)
    nearer = math.exp(count * math.log1p(-beyond)) if beyond < 1 else 0.0
    return two_sided(farther, nearer)


def _subnormal(summary: Summary, law: Law, dtype: torch.dtype) -> Finding:
    tiny = torch.finfo(dtype).tiny
    below, up_to = law.around(torch.tensor([-tiny, tiny], dtype=torch.float64, device="cpu"))
    pvalue = of_count(summary.subnormal, summary.count * float(below[1] - up_to[0]))
    text = f"{summary.subnormal:,} of {summary.count:,} values are subnormal, as in memory that was never written"
    return Finding(
        test="written", pvalue=pvalue, statistic=summary.subnormal, effect=summary.subnormal / summary.count, text=text
    )
