"""Counts, sums and extremes of a tensor in one pass, and samples from all over it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling.sampler import slabs

PIECE = 1 << 17  # Values at a time: their float64 copies fit the caches.
SAMPLE = 1 << 15  # Sorting more values takes longer than drawing all of them did.


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Counts, sums and extremes of a tensor's values."""

    count: int
    first: float  # Sum of (value - center) / scale.
    second: float  # Sum of the squares of that.
    low: float
    high: float
    nonfinite: int  # If there are any, the sums and extremes mean nothing.
    subnormal: int


def summarize(tensor: Tensor, center: float = 0.0, scale: float = 1.0) -> Summary:
    """Scan a floating tensor of any strides."""
    first, second, low, high, nonfinite, subnormal = 0.0, 0.0, float("inf"), float("-inf"), 0, 0
    tiny = torch.finfo(tensor.dtype).tiny
    buffer = torch.empty(min(PIECE, tensor.numel()), dtype=torch.float64, device=tensor.device)
    for _, slab in slabs(tensor, PIECE):
        values = buffer[: slab.numel()]
        values.view(slab.shape).copy_(slab)
        # float32 is as exact for comparisons, and faster.
        exact = slab if slab.dtype == torch.float32 and slab.is_contiguous() else values
        smallest, largest = (float(end) for end in torch.aminmax(exact))
        low, high = min(low, smallest), max(high, largest)
        if smallest - smallest != 0 or largest - largest != 0:
            nonfinite += slab.numel() - int(exact.isfinite().sum())
        sizes = exact.abs()
        if float(sizes.min()) < tiny:
            subnormal += int((sizes < tiny).sum()) - int((sizes == 0).sum())
        if center:
            values.sub_(center)
        first += float(values.sum()) / scale
        second += float(values @ values) / scale / scale
    found = dict(first=first, second=second, low=low, high=high)
    return Summary(count=tensor.numel(), nonfinite=nonfinite, subnormal=subnormal, **found)


def spread_sample(tensor: Tensor, limit: int = SAMPLE) -> Tensor:
    """At most `limit` values from all over a tensor, in float64.

    Neighbours in the sample are an odd number of places apart, so that every index of an axis of even size occurs.
    """
    count = tensor.numel()
    step = -(-count // limit) | 1 if count > limit else 1
    if step == 1 or tensor.is_contiguous():
        return tensor.reshape(-1)[::step].double()
    places = torch.arange(0, count, step, device=tensor.device)
    return tensor[torch.unravel_index(places, tensor.shape)].double()
