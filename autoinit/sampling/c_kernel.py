"""The C kernel: loads the compiled library and passes requests to it; one pass from bits to values."""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..errors import warn
from . import normal_quantile
from .draws import DTYPES, Draw, Formula

LIBRARY = Path(__file__).parent / "_kernel.so"
KERNEL_VERSION = 2
"""Version of the structures below and of their meaning; a library of another version is not used."""
VARIANTS = ("baseline", "avx2", "avx512")
MOST_AXES = 8


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


REQUEST = struct.Struct(f"@PPQQq{3 * MOST_AXES}qii")
"""`request` in kernel.h. Packing takes one call; setting the fields of a ctypes structure takes a dozen."""
NO_AXES = (0,) * MOST_AXES

COEFFICIENTS = (
    normal_quantile.AT_SEAM,
    *normal_quantile.SMOOTH,
    *(number for pole in normal_quantile.POLES for number in pole),
    normal_quantile.LOG_2,
    normal_quantile.LOG_LEVEL,
    *(number for pole in normal_quantile.LOG_POLES for number in pole),
    normal_quantile.TAIL_LEVEL,
    *(number for pole in normal_quantile.TAIL_POLES for number in pole),
)
_coefficients = (ctypes.c_float * len(COEFFICIENTS))(*COEFFICIENTS)


@dataclass(frozen=True)
class Kernel:
    """The loaded library.

    Args:
        library: the loaded file.
        variant: which instructions it uses: "baseline", "avx2" or "avx512".
    """

    library: ctypes.CDLL = field(repr=False)
    variant: str

    @property
    def variants(self) -> tuple[str, ...]:
        """Instruction sets of the library that this processor supports."""
        return VARIANTS[: self.library.autoinit_variants()]

    def draw(self, draws: Sequence[Draw]) -> list[Draw]:
        """Fill the tensors of all supported requests with shared threads; returns the unsupported ones."""
        requests = bytearray(REQUEST.size * len(draws))
        drawn: list[_Distribution] = []
        left = []
        for draw in draws:
            formula, axes = Formula.of(draw.transform), draw.axes
            if formula is None or len(axes) > MOST_AXES or not draw.is_possible_on("cpu"):
                left.append(draw)
                continue
            drawn.append(_distribution(formula))  # Alive until all is drawn, whatever the cache forgets.
            unused = NO_AXES[len(axes) :]
            sizes, steps, strides = zip(*axes, strict=True)
            REQUEST.pack_into(
                requests, (len(drawn) - 1) * REQUEST.size, ctypes.addressof(drawn[-1]), draw.out.data_ptr(),
                draw.key.offset, draw.key.twist, draw.first, *sizes, *unused, *steps, *unused, *strides, *unused,
                len(axes), DTYPES.index(draw.out.dtype),
            )  # fmt: skip
        which = VARIANTS.index(self.variant)
        memory = (ctypes.c_char * len(requests)).from_buffer(requests)
        if drawn and self.library.autoinit_draw(memory, len(drawn), torch.get_num_threads(), which):
            raise MemoryError(f"There is no memory for a list of {len(drawn)} tensors.")
        return left


@functools.lru_cache(maxsize=1)
def kernel() -> Kernel | None:
    """Load the kernel; None if it was not built or cannot be used."""
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
def _distribution(formula: Formula) -> _Distribution:
    sides = {
        name: _Side(side.inner, side.rest, side.below)
        for name, side in (("lower", formula.lower), ("upper", formula.upper))
    }
    numbers = {name: getattr(formula, name) for name in ("first", "step", "scale", "more_scale", "mean", "low", "high")}
    return _Distribution(numbers=ctypes.addressof(_coefficients), family=int(formula.is_normal), **sides, **numbers)
