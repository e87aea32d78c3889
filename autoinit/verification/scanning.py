"""One pass over a tensor, in pieces: what the tests of its values need to know."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling.sampler import slabs

PIECE = 1 << 17
"""Values at a time: their float64 copies stay in the caches."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What one pass over a tensor finds.

    Args:
        count: of values.
        first: the sum of (value - center) / scale.
        second: the sum of the squares of that.
        low: the smallest value.
        high: the largest value.
        nonfinite: how many are NaN or infinite; if any, the sums and extremes mean nothing.
        subnormal: how many are too small for a normal float of their dtype, and not zero.
    """

    count: int
    first: float
    second: float
    low: float
    high: float
    nonfinite: int
    subnormal: int


def summarize(tensor: Tensor, center: float = 0.0, scale: float = 1.0) -> Summary:
    """Scan a floating tensor of any strides.

    Example:
        >>> found = summarize(torch.tensor([[1.0, 2.0], [3.0, 1e-40]]))
        >>> found.count, round(found.first, 6), found.second, found.high, found.subnormal
        (4, 6.0, 14.0, 3.0, 1)
        >>> summarize(torch.tensor([1.0, float("nan")])).nonfinite
        1
    """
    first, second, low, high, nonfinite, subnormal = 0.0, 0.0, float("inf"), float("-inf"), 0, 0
    tiny = torch.finfo(tensor.dtype).tiny
    buffer = torch.empty(min(PIECE, tensor.numel()), dtype=torch.float64, device=tensor.device)
    for _, slab in slabs(tensor, PIECE):
        values = buffer[: slab.numel()]
        values.view(slab.shape).copy_(slab)
        # Narrower is faster, where it is as exact.
        exact = slab if slab.dtype == torch.float32 and slab.is_contiguous() else values
        smallest, largest = (float(end) for end in torch.aminmax(exact))
        low, high = min(low, smallest), max(high, largest)
        if smallest - smallest != 0 or largest - largest != 0:
            nonfinite += slab.numel() - int(exact.isfinite().sum())
        subnormal += _count_subnormal(exact, tiny)
        if center:
            values.sub_(center)
        first += float(values.sum()) / scale
        second += float(values @ values) / scale / scale
    return Summary(
        count=tensor.numel(),
        first=first,
        second=second,
        low=low,
        high=high,
        nonfinite=nonfinite,
        subnormal=subnormal,
    )


def _count_subnormal(values: Tensor, tiny: float) -> int:
    sizes = values.abs()
    if float(sizes.min()) >= tiny:
        return 0
    return int((sizes < tiny).sum()) - int((values == 0).sum())


def spread_sample(tensor: Tensor, limit: int) -> Tensor:
    """At most `limit` values from all over a tensor, in float64.

    Neighbours in the sample are an odd number of places apart, so that no axis of even size is seen at one index only.

    Example:
        >>> spread_sample(torch.arange(10), 4).tolist()
        [0.0, 3.0, 6.0, 9.0]
    """
    count = tensor.numel()
    if count <= limit:
        return tensor.reshape(-1).double()
    step = -(-count // limit) | 1
    if tensor.is_contiguous():
        return tensor.view(-1)[::step].double()
    places = torch.arange(0, count, step, device=tensor.device)
    index = torch.unravel_index(places, tensor.shape)
    return tensor[index].double()
