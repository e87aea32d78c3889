"""What a kernel is asked for: which values of a stream which tensor gets, and the formula for them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .intervals import Side
from .keys import Key
from .normals import NormalTransform, TruncNormalTransform
from .transforms import Transform, UniformTransform

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""What kernels write, in the order of `kernel.h`."""


@dataclass(frozen=True)
class Draw:
    """A tensor, and the values of a stream that it gets.

    Args:
        out: the tensor.
        key: of the stream.
        transform: from 32 bits to a value.
        first: number of the first value in the stream.
        steps: how much this number grows along each axis.
    """

    out: Tensor
    key: Key
    transform: Transform
    first: int
    steps: tuple[int, ...]

    def is_possible_on(self, device_type: str) -> bool:
        """Whether a kernel for such a device can write to the tensor: plain memory, in which all elements are apart."""
        out = self.out
        is_plain = type(out) in (Tensor, torch.nn.Parameter) and out.device.type == device_type and not out.is_neg()
        is_known = is_plain and out.dtype in DTYPES and (out.is_contiguous() or _is_apart(out))
        return is_known and _has_memory(out)

    @property
    def axes(self) -> list[tuple[int, int, int]]:
        """Size, step in the stream and stride in memory of each axis, joined where they can be; the last step is 1."""
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
    """A transform in numbers. Uniform: bits * scale * more_scale + mean. Normal: quantiles * scale + mean, clamped.

    Args:
        is_normal: which of the two.
        scale, more_scale, mean: float32.
        low, high: bounds of the values.
        first, step, lower, upper: see `intervals.Places`.
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
        """The formula of a transform; None where kernels have none."""
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
    """Whether all elements have memory: FSDP takes that of whole parameters away (`storage.resize_(0)`)."""
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
    held = tensor.untyped_storage().nbytes() // tensor.element_size()
    return not tensor.numel() or int(tensor.storage_offset()) + reach <= held


def _is_apart(tensor: Tensor) -> bool:
    """Whether each element has memory of its own, as far as sizes and strides tell at once."""
    reach = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride < reach:
                return False
            reach = stride * (size - 1) + reach
    return True
