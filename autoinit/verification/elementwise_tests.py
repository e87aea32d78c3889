"""Whether values are independent draws of a distribution in closed form: tests of mean, variance, shape and range."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..fills import Elementwise
from .pvalues import ascending, of_chi_square, of_count, of_distance, of_mean, two_sided
from .rounded import Rounded, rounded
from .summary import Summary, spread_sample, summarize
from .verdict import Finding, impossible

ENOUGH = 8  # With fewer values, mean and variance say little that shape and range do not, and only those are exact.
VARIANCE = 3.0  # Weight of the variance test: half of the false alarms of a parameter.
CAREFUL = 8  # Slack over the usual size of an error.
BLUR = 0.1  # Largest error of the usual size, relative to the standard deviation.


def elementwise(tensor: Tensor, fill: Elementwise, slack: float = 0.0) -> Iterator[Finding]:
    """The tests of a floating tensor of any strides against the fill that it should hold; see `findings_of`."""
    if not tensor.numel():
        return
    sample, dtype = spread_sample(tensor), tensor.dtype
    if dtype == torch.float64 and torch.equal(sample, sample.float().double()):
        dtype = torch.float32  # The values were drawn in float32.
    law = rounded(fill, dtype)
    summary = summarize(tensor, law.mean, law.std or 1.0)
    if summary.nonfinite:
        yield nonfinite(summary)
        return
    yield _range(summary, law, slack)
    if slack / CAREFUL * abs(law.mean) > BLUR * law.std:
        return  # The steps of the dtype are as wide as the distribution: one more rounding changes it.
    if law.std and summary.count >= ENOUGH:
        yield _mean(summary, law)
        yield _variance(summary, law)
    yield _shape(sample, law)
    if summary.subnormal:
        tiny = torch.finfo(tensor.dtype).tiny
        below, up_to = law.around(torch.tensor([-tiny, tiny], dtype=torch.float64, device="cpu"))
        pvalue = of_count(summary.subnormal, summary.count * float(below[1] - up_to[0]))
        share = summary.subnormal / summary.count
        text = subnormal_text(summary)
        yield Finding(test="written", pvalue=pvalue, statistic=summary.subnormal, effect=share, text=text)


def nonfinite(summary: Summary) -> Finding:
    """NaN and infinite values, which no fill writes."""
    return impossible("finite", f"{summary.nonfinite:,} of {summary.count:,} values are NaN or infinite", 1.0)


def subnormal_text(summary: Summary) -> str:
    """The text of the tests for memory that was never written."""
    return f"{summary.subnormal:,} of {summary.count:,} values are subnormal, as in memory that was never written"


def _mean(summary: Summary, law: Rounded) -> Finding:
    count, average = summary.count, summary.first / summary.count
    z = average * math.sqrt(count)
    pvalue = math.erfc(abs(z) / math.sqrt(2)) if law.is_normal else of_mean(average, count, law.nodes, law.weights)
    expected = law.mean if abs(law.mean) > 1e-9 * law.std else 0.0
    text = f"mean {law.mean + average * law.std:.6g}, not {expected:.6g}: off by {average:+.3g} std"
    return Finding(test="mean", pvalue=pvalue, statistic=z, effect=average, text=text)


def _variance(summary: Summary, law: Rounded) -> Finding:
    count, total = summary.count, summary.second
    if law.is_normal:
        pvalue = of_chi_square(total, count)
    else:
        squares, order = law.nodes.square().sort()
        pvalue = of_mean(total / count, count, squares, law.weights[order])
    ratio = math.sqrt(total / count)
    text = f"std {ratio * law.std:.6g}, not {law.std:.6g}: off by {100 * (ratio - 1):+.3g} %"
    return Finding(test="variance", pvalue=pvalue, statistic=total, effect=ratio - 1, text=text, weight=VARIANCE)


def _shape(sample: Tensor, law: Rounded) -> Finding:
    values, count = ascending(sample), sample.numel()
    # Of equal values, the last has the largest distance above the distribution and the first below it.
    after = torch.arange(1, count + 1, dtype=torch.float64, device="cpu") / count
    below, up_to = law.around(values)
    distances = torch.maximum(after - up_to, below - after + 1 / count)
    distance, where = float(distances.max()), float(values[int(distances.argmax())])
    text = f"a share of {distance:.3g} of the values is on the wrong side of {where:.4g}"
    return Finding(test="shape", pvalue=of_distance(distance, count), statistic=distance, effect=distance, text=text)


def _range(summary: Summary, law: Rounded, slack: float) -> Finding:
    low, high = law.support
    if summary.low < low - slack * abs(low) or summary.high > high + slack * abs(high):
        worst = summary.low if low - summary.low > summary.high - high else summary.high
        out = abs(worst - law.mean) / law.std if law.std else math.inf
        return impossible("range", f"{worst:.6g} cannot be: it is out of bounds, {out:.3g} std from the mean", out)
    ends = torch.tensor([max(summary.low, low), min(summary.high, high)], dtype=torch.float64, device="cpu")
    # Generators of 24 bits place no value within some distance of the ends, and none beyond their last cell.
    resolution = (high - low) * 2.0**-22 if math.isfinite(high - low) else 0.0
    steps = resolution + slack / CAREFUL * ends.abs()
    inner = ends + steps * torch.tensor([1, -1], dtype=torch.float64, device="cpu")
    below, up_to = (shares.tolist() for shares in law.around(torch.cat([ends, inner])))
    # For either end the share at least as far out, and the share strictly farther out.
    smallest = _extreme(summary.count, reached=up_to[2], beyond=below[0])
    largest = _extreme(summary.count, reached=1 - below[3], beyond=1 - up_to[1])
    name, worst = ("smallest", summary.low) if smallest <= largest else ("largest", summary.high)
    out = (worst - law.mean) / law.std if law.std else 0.0
    text = f"the {name} of {summary.count:,} values is {worst:.6g}, {abs(out):.3g} std from the mean"
    return Finding(test="range", pvalue=min(1.0, 2 * min(smallest, largest)), statistic=out, effect=out, text=text)


def _extreme(count: int, *, reached: float, beyond: float) -> float:
    """The two-sided p-value of the most extreme of `count` values."""
    farther = -math.expm1(count * math.log1p(-reached)) if reached < 1 else 1.0
    beyond = max(beyond - 2.0**-22, 0.0)
    nearer = math.exp(count * math.log1p(-beyond)) if beyond < 1 else 0.0
    return two_sided(farther, nearer)
