"""Whether a tensor holds what one fill writes; and without a fill, whether it holds plausible values at all."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..fills import ComplexNormal, Constant, DeltaOrthogonal, Elementwise, Fill, Normal, Orthogonal, Sparse, middle
from ..sampling import Sampler, derive_key
from ..sampling.sampler import slabs
from .elementwise_tests import elementwise, nonfinite, subnormal_text
from .pvalues import of_count, of_direction
from .rounded import rounded
from .summary import PIECE, spread_sample, summarize
from .verdict import Finding, impossible

FEWEST = 64  # Values from which on outliers are looked for.
# An outlier is so many robust standard deviations from the median. This has no false-alarm rate: no network is
# initialized with such heavy tails unless a rule asks for them.
FAR = 50.0
TOO_MANY = 0.01  # A share of subnormal values that no scheme and no training leaves.


def findings_of(tensor: Tensor, fill: Fill, slack: float = 0.0) -> Iterator[Finding]:
    """The tests of a tensor, with a relative error of at most `slack`, against the one fill that it should hold.

    A function of the user's has none.
    """
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
        yield nonfinite(summarize(torch.view_as_real(tensor) if tensor.is_complex() else tensor))
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
    """What is implausible in any weight: NaN, infinities, memory that was never written, and outliers."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point() or not tensor.numel():
        return
    summary = summarize(tensor)
    if summary.nonfinite:
        yield nonfinite(summary)
        return
    if summary.subnormal > TOO_MANY * summary.count and tensor.dtype in (torch.float32, torch.float64, torch.bfloat16):
        yield impossible("written", subnormal_text(summary), summary.subnormal / summary.count)
    if summary.count < FEWEST:
        return
    levels = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64, device=tensor.device)
    first, median, third = spread_sample(tensor, 1 << 12).quantile(levels).tolist()
    robust = (third - first) / 1.349
    worst = max((summary.low, summary.high), key=lambda end: abs(end - median))
    if robust and abs(worst - median) > FAR * robust:
        out = abs(worst - median) / robust
        yield impossible("outlier", f"{worst:.4g} is {out:.3g} robust standard deviations from the median", out)
