"""Whether a tensor is what a scheme makes that does not draw its elements one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..fills import ComplexNormal, Constant, Elementwise, Fill, Normal, Orthogonal, Sparse
from ..sampling import Key, Sampler
from ..sampling.sampler import slabs
from .distribution_tests import elementwise, nonfinite
from .laws import law_of
from .scanning import PIECE, summarize
from .statistics import of_count, of_direction
from .verdict import Finding, impossible


def findings_of(tensor: Tensor, fill: Fill, slack: float = 0.0) -> Iterator[Finding]:
    """The tests of a tensor against the one fill that it was to get; none for a function of the user's.

    Args:
        tensor: the values.
        fill: what they were made by.
        slack: how far each may be off, relative to itself, because forward computes it from what is stored.
    """
    if isinstance(fill, Constant):
        return constant(tensor, fill, slack)
    if isinstance(fill, Elementwise):
        return elementwise(tensor, fill, slack)
    if isinstance(fill, ComplexNormal):
        return complex_normal(tensor, fill)
    if isinstance(fill, Orthogonal):
        return orthogonal(tensor, fill)
    if isinstance(fill, Sparse):
        return sparse(tensor, fill)
    return iter(()) if fill.is_random else determined(tensor, fill)


def constant(tensor: Tensor, fill: Constant, slack: float = 0.0) -> Iterator[Finding]:
    """Every element is the value, as the dtype rounds it; within a relative `slack` if it was computed.

    Example:
        >>> [found.text for found in constant(torch.tensor([0.0, 0.5, 0.0]), Constant(0.0))]
        ['1 of 3 values differ from 0; the farthest is 0.5']
    """
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    value = torch.full((), fill.value, dtype=tensor.dtype, device=tensor.device).to(wide)
    wrong, largest, farthest, allowed = 0, 0.0, fill.value, slack * max(abs(fill.value), 1e-30)
    for _, slab in slabs(tensor, PIECE):
        gaps = (slab.to(wide) - value).abs().nan_to_num_(math.inf)
        largest_here, place = gaps.reshape(-1).max(0)
        if float(largest_here) > allowed:
            wrong += int((gaps > allowed).sum())
            if float(largest_here) > largest:
                largest, farthest = float(largest_here), slab.reshape(-1)[int(place)].item()
    if wrong:
        text = f"{wrong:,} of {tensor.numel():,} values differ from {fill.value:.6g}; the farthest is {farthest:.6g}"
        yield impossible("constant", text, wrong)


def determined(tensor: Tensor, fill: Fill) -> Iterator[Finding]:
    """Every element is what a fill without randomness writes there. Transient memory: one more tensor."""
    made = torch.empty_like(tensor)
    fill.write(made, _no_key, Sampler(tensor.device))
    count = int((made != tensor).sum())
    if count:
        yield impossible("constant", f"{count:,} of {tensor.numel():,} values differ from those of {fill}", count)


def _no_key(stream: int) -> Key:
    raise AssertionError("a fill without randomness asked for a key")


def complex_normal(tensor: Tensor, fill: ComplexNormal) -> Iterator[Finding]:
    """The real and the imaginary parts, each by itself."""
    parts = torch.view_as_real(tensor)
    yield from elementwise(parts[..., 0], fill.real)
    yield from elementwise(parts[..., 1], fill.imaginary)


def orthogonal(tensor: Tensor, fill: Orthogonal) -> Iterator[Finding]:
    """The smaller side is orthonormal times the gain, and does not lean to the direction of ones.

    Transient memory: the tensor in float64, and a square of its smaller side.

    Example:
        >>> fill = Orthogonal(1.0, 2, 2)
        >>> [
        ...     found.test
        ...     for found in orthogonal(torch.tensor([[1.0, 0.0], [0.1, 1.0]]), fill)
        ...     if not found.pvalue
        ... ]
        ['orthogonality']
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
    # Each element is rounded once; of a row's errors the sum goes with the root of their number, relative to 1.
    tolerance = 4 * torch.finfo(tensor.dtype).eps + 1e-6 * math.sqrt(frame.shape[1])
    if gap > tolerance:
        text = f"rows that should be orthonormal times {abs(fill.gain):.6g} have products off by {gap:.3g}"
        yield impossible("orthogonality", text, gap)
    elif not wide.is_complex():
        # In few dimensions a random direction may well be this one, up to rounding.
        cosine = float(frame.sum()) / math.sqrt(frame.numel()) * (1 - 2 * tolerance)
        yield Finding(
            test="mean",
            pvalue=of_direction(cosine, frame.shape[1]),
            statistic=cosine,
            effect=cosine,
            text=f"the sum of all is {cosine:+.3g} of what it can be at most, more than in a random rotation",
        )


def sparse(tensor: Tensor, fill: Sparse) -> Iterator[Finding]:
    """Each column has its zeros, and the rest is normal. Transient memory: two more tensors."""
    normal = Normal(0.0, fill.scale / math.sqrt(2) if tensor.is_complex() else fill.scale)
    more = (tensor == 0).sum(0) - fill.zeros_per_column
    if fewer := int((more < 0).sum()):
        text = f"{fewer:,} of {len(more):,} columns have fewer than {fill.zeros_per_column:,} zeros"
        yield impossible("sparsity", text, fewer)
    # What was drawn may be zero, too, or be rounded to it.
    below, up_to = law_of(normal, tensor.dtype.to_real()).around(torch.zeros(1, dtype=torch.float64, device="cpu"))
    share = max(float(up_to - below), 2.0**-24)
    extra = int(more.clamp(min=0).sum())
    yield Finding(
        test="sparsity",
        pvalue=of_count(extra, share * tensor.numel()),
        statistic=extra,
        effect=extra,
        text=f"{extra:,} zeros more than {fill.zeros_per_column:,} in each of {len(more):,} columns",
    )
    drawn = ComplexNormal(0.0, fill.scale) if tensor.is_complex() else Normal(0.0, fill.scale)
    yield from findings_of(tensor[tensor != 0], drawn)
