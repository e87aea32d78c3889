"""Requests to a kernel: a tensor, the range of the stream that fills it, and the formula of its distribution."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .keys import Key
from .normal_transforms import NormalTransform, TruncNormalTransform
from .transforms import Transform, UniformTransform
from .truncation import Side

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Dtypes that kernels write, in the order of the enum in `kernel.h`."""


@dataclass(frozen=True)
class Draw:
    """A request to fill one tensor from a stream of random bits.

    Args:
        out: Tensor to fill.
        key: Key of the stream.
        transform: Function from 32 bits to a value.
        first: Index of the first value in the stream.
        steps: Increment of this index along each axis.
    """

    out: Tensor
    key: Key
    transform: Transform
    first: int
    steps: tuple[int, ...]

    def is_possible_on(self, device_type: str) -> bool:
        """Whether a kernel can write to the tensor: device, dtype, storage, no overlaps."""
        out = self.out
        is_plain = type(out) in (Tensor, torch.nn.Parameter) and out.device.type == device_type and not out.is_neg()
        is_known = is_plain and out.dtype in DTYPES and (out.is_contiguous() or _is_apart(out))
        return is_known and _has_memory(out)

    @property
    def axes(self) -> list[tuple[int, int, int]]:
        """(size, step in the stream, stride in memory) per axis; adjacent axes are merged, and the last step is 1."""
        axes: list[tuple[int, int, int]] = []
        for size, step, stride in zip(self.out.shape, self.steps, self.out.stride(), strict=True):
            if axes and axes[-1][1:] == (size * step, size * stride):
                axes[-1] = (axes[-1][0] * size, step, stride)
            elif size != 1:
                axes.append((size, step, stride))
        if not axes or axes[-1][1] != 1:
            axes.append((1, 1, 1))
        return axes


NO_SIDE = Side(0.0, 0.0, 0)


@dataclass(frozen=True)
class Formula:
    """The numbers of a transform.

    Uniform: bits * scale * more_scale + mean. Normal: quantile(bits) * scale + mean, clamped.

    Args:
        is_normal: Normal or uniform.
        scale: Factor, a float32.
        more_scale: Second factor, for scales that would be subnormal.
        mean: Summand, a float32.
        low: Lower bound of the values.
        high: Upper bound of the values.
        first, step, lower, upper: See `truncation.Places`.
    """

    is_normal: bool
    scale: float
    more_scale: float = 1.0
    mean: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    first: int = 0
    step: float = 0.0
    lower: Side = NO_SIDE
    upper: Side = NO_SIDE

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def of(transform: Transform) -> Formula | None:
        """The formula of a transform, or None if kernels do not support it."""
        if isinstance(transform, UniformTransform):
            half, mean = transform.affine
            if half < 2.0**-95:
                return Formula(False, scale=2.0**-31, more_scale=half, mean=mean)
            return Formula(False, scale=half * 2.0**-31, mean=mean)
        if not isinstance(transform, (NormalTransform, TruncNormalTransform)):
            return None
        places = transform.places
        low, high = getattr(transform, "low", -math.inf), getattr(transform, "high", math.inf)
        return Formula(
            True, transform.std, 1.0, transform.mean, low, high, places.first, places.step, places.lower, places.upper
        )


def _has_memory(tensor: Tensor) -> bool:
    """Whether the storage is large enough for all elements: FSDP frees storages with `resize_(0)`."""
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
    held = tensor.untyped_storage().nbytes() // tensor.element_size()
    return not tensor.numel() or int(tensor.storage_offset()) + reach <= held


def _is_apart(tensor: Tensor) -> bool:
    """Whether sizes and strides show that no two elements overlap."""
    reach = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride < reach:
                return False
            reach = stride * (size - 1) + reach
    return True
