"""The C kernel: one pass from numbers to values, where it was built and this machine can run it."""

from __future__ import annotations

import ctypes
import functools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import warn
from . import quantile
from .keys import Key
from .normals import NormalTransform, TruncNormalTransform
from .transforms import Transform, UniformTransform

LIBRARY = Path(__file__).parent / "_kernel.so"
KERNEL_VERSION = 2
"""Of the structures below, and of what the kernel makes of them; a library of another version is not used."""
VARIANTS = ("baseline", "avx2", "avx512")
MOST_AXES = 8
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


class _Side(ctypes.Structure):
    _fields_ = (("inner", ctypes.c_float), ("rest", ctypes.c_float), ("below", ctypes.c_uint64))


class _Distribution(ctypes.Structure):
    _fields_ = (
        ("numbers", ctypes.c_void_p),
        ("first", ctypes.c_int64),
        ("lower", _Side),
        ("upper", _Side),
        ("family", ctypes.c_int32),
        *((name, ctypes.c_float) for name in ("step", "scale", "more_scale", "mean", "low", "high")),
    )


_Axes = ctypes.c_int64 * MOST_AXES


class _Request(ctypes.Structure):
    _fields_ = (
        ("drawn", ctypes.POINTER(_Distribution)),
        ("out", ctypes.c_void_p),
        ("offset", ctypes.c_uint64),
        ("twist", ctypes.c_uint64),
        ("first", ctypes.c_int64),
        ("sizes", _Axes),
        ("steps", _Axes),
        ("strides", _Axes),
        ("axes", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
    )


COEFFICIENTS = (
    quantile.AT_SEAM,
    *quantile.SMOOTH,
    *(number for pole in quantile.POLES for number in pole),
    quantile.LOG_2,
    quantile.LOG_LEVEL,
    *(number for pole in quantile.LOG_POLES for number in pole),
    quantile.TAIL_LEVEL,
    *(number for pole in quantile.TAIL_POLES for number in pole),
)
_coefficients = (ctypes.c_float * len(COEFFICIENTS))(*COEFFICIENTS)


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

    @property
    def is_possible(self) -> bool:
        """Whether the kernel can write to the tensor: plain memory, in which no two elements are the same."""
        out = self.out
        is_plain = type(out) in (Tensor, torch.nn.Parameter) and out.device.type == "cpu" and not out.is_neg()
        is_known = is_plain and out.dtype in DTYPES and (out.is_contiguous() or _is_apart(out))
        return is_known and _has_memory(out)


@dataclass(frozen=True)
class Kernel:
    """The library, ready to draw.

    Args:
        library: the loaded file.
        variant: which instructions it uses: "baseline", "avx2" or "avx512".
    """

    library: ctypes.CDLL
    variant: str

    @property
    def variants(self) -> tuple[str, ...]:
        """All that this processor can run."""
        return VARIANTS[: self.library.autoinit_variants()]

    def draw(self, draws: Sequence[Draw]) -> list[Draw]:
        """Carry out what it can, all at once: threads share the work; gives what it cannot do."""
        requests, count, left = (_Request * len(draws))(), 0, []
        for draw in draws:
            drawn = _distribution(draw.transform)
            if drawn is not None and draw.is_possible and _describe(requests[count], draw, drawn):
                count += 1
            else:
                left.append(draw)
        which = VARIANTS.index(self.variant)
        if count and self.library.autoinit_draw(requests, count, torch.get_num_threads(), which):
            raise MemoryError(f"There is no memory for a list of {count} tensors.")
        return left


@functools.lru_cache(maxsize=1)
def kernel() -> Kernel | None:
    """The kernel; None where there is none, or one that cannot be used, and torch's operators draw the values."""
    if not LIBRARY.exists() or sys.byteorder != "little":
        return None
    try:
        library = ctypes.CDLL(str(LIBRARY))
        version = library.autoinit_kernel_version()
        library.autoinit_draw.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_int32)
    except (OSError, AttributeError) as error:
        warn(f"{LIBRARY} cannot be used ({error}). The same values are drawn without it, more slowly.")
        return None
    if version != KERNEL_VERSION:
        warn(
            f"{LIBRARY} has version {version}, not {KERNEL_VERSION}. The same values are drawn without it, more "
            "slowly. Reinstall torch-autoinit."
        )
        return None
    library.autoinit_make_table()
    return Kernel(library, VARIANTS[library.autoinit_variants() - 1])


@functools.lru_cache(maxsize=256)
def _distribution(transform: Transform) -> _Distribution | None:
    """What the kernel has to know of a transform; None if it has no formula for it."""
    made = _Distribution(numbers=ctypes.addressof(_coefficients), more_scale=1.0, low=-math.inf, high=math.inf)
    if isinstance(transform, UniformTransform):
        half, made.mean = transform.affine
        made.scale, made.more_scale = (2.0**-31, half) if half < 2.0**-95 else (half * 2.0**-31, 1.0)
        return made
    if isinstance(transform, TruncNormalTransform):
        made.low, made.high = transform.low, transform.high
    elif not isinstance(transform, NormalTransform):
        return None
    places = transform.places
    made.family, made.first, made.step = 1, places.first, places.step
    made.lower, made.upper = (_Side(side.inner, side.rest, side.below) for side in (places.lower, places.upper))
    made.scale, made.mean = transform.std, transform.mean
    return made


def _describe(request: _Request, draw: Draw, drawn: _Distribution) -> bool:
    """Fill in a request; False if the tensor has too many axes."""
    out, axes = draw.out, [(1, 0, 0)]
    for size, step, stride in zip(out.shape, draw.steps, out.stride(), strict=True):
        before = axes[-1]
        if before[1:] == (size * step, size * stride):
            axes[-1] = (before[0] * size, step, stride)
        elif size != 1:
            axes.append((size, step, stride))
    if axes[-1][1] != 1:
        axes.append((1, 1, 1))
    if len(axes) > MOST_AXES:
        return False
    request.drawn, request.out = ctypes.pointer(drawn), out.data_ptr()
    request.offset, request.twist, request.first = draw.key.offset, draw.key.twist, draw.first
    for axis, (size, step, stride) in enumerate(axes):
        request.sizes[axis], request.steps[axis], request.strides[axis] = size, step, stride
    request.axes, request.dtype = len(axes), DTYPES[out.dtype]
    return True


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
