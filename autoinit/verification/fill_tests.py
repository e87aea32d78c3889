"""Tests of a tensor against the fill that it should hold; without a fill, of whether its values are plausible."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..fills import ComplexNormal, Constant, DeltaOrthogonal, Elementwise, Fill, Normal, Orthogonal, Sparse, middle
from ..sampling import Sampler, derive_key
from ..sampling.sampler import slabs
from .pvalues import ascending, of_chi_square, of_count, of_direction, of_distance, of_mean, two_sided
from .rounded import Rounded, rounded
from .summary import PIECE, Summary, spread_sample, summarize
from .verdict import Finding, impossible

ENOUGH = 8  # With fewer values, mean and variance say little that shape and range do not, and only those are exact.
VARIANCE = 3.0  # Weight of the variance test: half of the false alarms of a parameter.
CAREFUL = 8  # Slack over the usual size of an error.
BLUR = 0.1  # Largest error of the usual size, relative to the standard deviation.
FEWEST = 64  # Values from which on outliers are looked for.
# Robust standard deviations between the median and an outlier. No false-alarm rate: without a rule that asks for it, no
# network is initialized with such heavy tails.
FAR = 50.0
TOO_MANY = 0.01  # A share of subnormal values that no scheme and no training leaves.


def findings_of(tensor: Tensor, fill: Fill, slack: float = 0.0) -> Iterator[Finding]:
    """Test a tensor, with a relative error of at most `slack`, against its fill; a user's function has no tests."""
    if isinstance(fill, Constant):
        yield from constant(tensor, fill, slack)
    elif isinstance(fill, Elementwise):
        yield from elementwise(tensor, fill, slack)
    elif isinstance(fill, ComplexNormal):
        real, imaginary = torch.view_as_real(tensor).unbind(-1)
        yield from elementwise(real, fill.real)
        yield from elementwise(imaginary, fill.imaginary)
    elif isinstance(fill, Orthogonal):
        yield from orthogonal(tensor, fill)
    elif isinstance(fill, DeltaOrthogonal):
        outside = tensor.clone()
        middle(outside).zero_()
        yield from constant(outside, Constant(0.0))
        yield from orthogonal(middle(tensor), fill.centre)
    elif isinstance(fill, Sparse):
        yield from sparse(tensor, fill)
    elif not fill.is_random:
        made = torch.empty_like(tensor)
        fill.write(made, lambda stream: derive_key(0, 0, "", stream), Sampler(tensor.device))
        if count := int((made != tensor).sum()):
            text = f"{count:,} of {tensor.numel():,} values differ from those of {fill}"
            yield impossible("constant", text, count)


def constant(tensor: Tensor, fill: Constant, slack: float = 0.0) -> Iterator[Finding]:
    """Every element is the value, as the dtype rounds it; within a relative `slack` if it was computed."""
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    value = torch.full((), fill.value, dtype=tensor.dtype, device=tensor.device).to(wide)
    wrong, largest, farthest, allowed = 0, 0.0, fill.value, slack * max(abs(fill.value), 1e-30)
    for _, slab in slabs(tensor, PIECE):
        gaps = (slab.to(wide) - value).abs().nan_to_num_(math.inf)
        gap, place = gaps.reshape(-1).max(0)
        if float(gap) > allowed:
            wrong += int((gaps > allowed).sum())
            if float(gap) > largest:
                largest, farthest = float(gap), slab.reshape(-1)[int(place)].item()
    if wrong:
        text = f"{wrong:,} of {tensor.numel():,} values differ from {fill.value:.6g}; the farthest is {farthest:.6g}"
        yield impossible("constant", text, wrong)


def orthogonal(tensor: Tensor, fill: Orthogonal) -> Iterator[Finding]:
    """The smaller side is orthonormal times the gain, and does not lean to the direction of ones.

    Transient memory: the tensor in float64, and a square of its smaller side.
    """
    wide = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64).reshape(fill.rows, fill.columns)
    if not wide.abs().isfinite().all():
        yield _nonfinite(summarize(torch.view_as_real(tensor) if tensor.is_complex() else tensor))
        return
    if not wide.numel() or not fill.gain:
        return
    frame = (wide if fill.rows <= fill.columns else wide.mT) / fill.gain
    gram = frame @ frame.mH
    gap = float((gram - torch.eye(len(frame), dtype=gram.dtype, device=gram.device)).abs().max())
    # Each element is rounded once; the sum of a row's errors grows with the root of their number.
    tolerance = 4 * torch.finfo(tensor.dtype).eps + 1e-6 * math.sqrt(frame.shape[1])
    if gap > tolerance:
        text = f"rows that should be orthonormal times {abs(fill.gain):.6g} have products off by {gap:.3g}"
        yield impossible("orthogonality", text, gap)
    elif not wide.is_complex():
        # In few dimensions a random direction may well be this one, up to rounding.
        cosine = float(frame.sum()) / math.sqrt(frame.numel()) * (1 - 2 * tolerance)
        text = f"the sum of all is {cosine:+.3g} of what it can be at most, more than in a random rotation"
        pvalue = of_direction(cosine, frame.shape[1])
        yield Finding(test="mean", pvalue=pvalue, statistic=cosine, effect=cosine, text=text)


def sparse(tensor: Tensor, fill: Sparse) -> Iterator[Finding]:
    """Each column has its zeros, and the rest is normal. Transient memory: two more tensors."""
    normal = Normal(0.0, fill.scale / math.sqrt(2) if tensor.is_complex() else fill.scale)
    more = (tensor == 0).sum(0) - fill.zeros_per_column
    if fewer := int((more < 0).sum()):
        text = f"{fewer:,} of {len(more):,} columns have fewer than {fill.zeros_per_column:,} zeros"
        yield impossible("sparsity", text, fewer)
    # A drawn value may be zero too, or be rounded to it.
    below, up_to = rounded(normal, tensor.dtype.to_real()).around(torch.zeros(1, dtype=torch.float64, device="cpu"))
    share = max(float(up_to - below), 2.0**-24)
    extra = int(more.clamp(min=0).sum())
    text = f"{extra:,} zeros more than {fill.zeros_per_column:,} in each of {len(more):,} columns"
    pvalue = of_count(extra, share * tensor.numel())
    yield Finding(test="sparsity", pvalue=pvalue, statistic=extra, effect=extra, text=text)
    yield from findings_of(tensor[tensor != 0], ComplexNormal(0.0, fill.scale) if tensor.is_complex() else normal)


def audit(tensor: Tensor) -> Iterator[Finding]:
    """Find implausible values: NaN, infinities, memory that was never written, and outliers."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point() or not tensor.numel():
        return
    summary = summarize(tensor)
    if summary.nonfinite:
        yield _nonfinite(summary)
        return
    if summary.subnormal > TOO_MANY * summary.count and tensor.dtype in (torch.float32, torch.float64, torch.bfloat16):
        yield impossible("written", _subnormal(summary), summary.subnormal / summary.count)
    if summary.count < FEWEST:
        return
    levels = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64, device=tensor.device)
    first, median, third = spread_sample(tensor, 1 << 12).quantile(levels).tolist()
    robust = (third - first) / 1.349
    worst = max((summary.low, summary.high), key=lambda end: abs(end - median))
    if robust and abs(worst - median) > FAR * robust:
        out = abs(worst - median) / robust
        yield impossible("outlier", f"{worst:.4g} is {out:.3g} robust standard deviations from the median", out)


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
        yield _nonfinite(summary)
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
        text = _subnormal(summary)
        yield Finding(test="written", pvalue=pvalue, statistic=summary.subnormal, effect=share, text=text)


def _nonfinite(summary: Summary) -> Finding:
    return impossible("finite", f"{summary.nonfinite:,} of {summary.count:,} values are NaN or infinite", 1.0)


def _subnormal(summary: Summary) -> str:
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
    # Among equal values, the last is farthest above the distribution and the first farthest below it.
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
