"""Requests to a kernel: a tensor, the range of the stream that fills it, and the formula of its distribution."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .keys import Key
from .transforms import NormalTransform, Transform, UniformTransform, factors, within
from .truncation import Places, float32

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Dtypes that kernels write, in the order of the enum in `kernel.h`."""


class Draw(NamedTuple):
    """A request to fill the tensor `out` from a stream of random bits."""

    out: Tensor
    key: Key
    transform: Transform
    first: int  # Index of the first value in the stream.
    steps: tuple[int, ...]  # Increment of this index along each axis.

    def is_possible_on(self, device_type: str) -> bool:
        """True if a kernel can write to the tensor: device, dtype, storage, no overlaps."""
        out = self.out
        is_plain = type(out) in (Tensor, torch.nn.Parameter) and out.device.type == device_type and not out.is_neg()
        return is_plain and out.dtype in DTYPES and _is_apart(out) and _has_memory(out)

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


class Formula(NamedTuple):
    """The numbers of a transform, as kernels take them.

    Uniform: bits * scale * more_scale + mean. Normal: quantile(bits) * scale + mean, clamped to [low, high].
    """

    is_normal: bool
    scale: float
    more_scale: float
    mean: float
    low: float = -math.inf
    high: float = math.inf
    places: Places = Places()


@functools.lru_cache(maxsize=256)
def formula_of(transform: Transform) -> Formula | None:
    """The formula of a transform, or None if kernels do not support it."""
    if isinstance(transform, UniformTransform):
        half, mean = within(transform.low, transform.high)
        scale, more = (*factors(half), 1.0)[:2]
        return Formula(False, scale, more, mean)
    if isinstance(transform, NormalTransform):
        mean, std, low, high = map(float32, (transform.mean, transform.std, transform.low, transform.high))
        return Formula(True, std, 1.0, mean, low, high, transform.places)
    return None


class Kernel(ABC):
    """Draws random values in one pass."""

    @abstractmethod
    def draw(self, draws: Sequence[Draw]) -> list[Draw]:
        """Fill the tensors of all supported requests; returns the unsupported ones."""


def _has_memory(tensor: Tensor) -> bool:
    """True if the storage is large enough for all elements: FSDP frees storages with `resize_(0)`."""
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
    held = tensor.untyped_storage().nbytes() // tensor.element_size()
    return not tensor.numel() or int(tensor.storage_offset()) + reach <= held


def _is_apart(tensor: Tensor) -> bool:
    """True if sizes and strides show that no two elements overlap."""
    if tensor.is_contiguous():
        return True
    reach = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride < reach:
                return False
            reach = stride * (size - 1) + reach
    return True
