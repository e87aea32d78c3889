"""The C kernel: loads the compiled library and passes requests to it; one pass from bits to values."""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import torch

from ..errors import warn
from .draws import DTYPES, Draw, Formula, Kernel, formula_of
from .normal_quantile import AT_SEAM, LOG_2, LOG_LEVEL, LOG_POLES, POLES, SMOOTH, TAIL_LEVEL, TAIL_POLES

LIBRARY = Path(__file__).parent / "_kernel.so"
KERNEL_VERSION = 2  # Version of the structures below and of their meaning; a library of another version is not used.
VARIANTS = ("baseline", "avx2", "avx512")
MOST_AXES = 8

REQUEST = struct.Struct(f"@PPQQq{3 * MOST_AXES}qii")
"""`request` in kernel.h. Packing takes one call; setting the fields of a ctypes structure takes a dozen."""
NO_AXES = (0,) * MOST_AXES

DISTRIBUTION = struct.Struct("@PqffQffQi6f")  # `distribution` in kernel.h.
COEFFICIENTS = (AT_SEAM, *SMOOTH, *chain(*POLES), LOG_2, LOG_LEVEL, *chain(*LOG_POLES), TAIL_LEVEL, *chain(*TAIL_POLES))
_coefficients = (ctypes.c_float * len(COEFFICIENTS))(*COEFFICIENTS)


@dataclass(frozen=True)
class CKernel(Kernel):
    """The loaded library, and which of the `VARIANTS` of instructions it uses."""

    library: ctypes.CDLL = field(repr=False)
    variant: str

    def draw(self, draws: Sequence[Draw]) -> list[Draw]:
        """Fill the tensors of all supported requests with shared threads; returns the unsupported ones."""
        requests = bytearray(REQUEST.size * len(draws))
        drawn: list[ctypes.Array[ctypes.c_char]] = []
        left = []
        for draw in draws:
            formula, axes = formula_of(draw.transform), draw.axes
            if formula is None or len(axes) > MOST_AXES or not draw.is_possible_on("cpu"):
                left.append(draw)
                continue
            drawn.append(_distribution(formula))  # Keeps it alive until all is drawn: the cache may drop it.
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
def kernel() -> CKernel | None:
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
    return CKernel(library, VARIANTS[library.autoinit_variants() - 1])


@functools.lru_cache(maxsize=256)
def _distribution(formula: Formula) -> ctypes.Array[ctypes.c_char]:
    is_normal, *numbers, (first, step, lower, upper) = formula
    return ctypes.create_string_buffer(
        DISTRIBUTION.pack(ctypes.addressof(_coefficients), first, *lower, *upper, is_normal, step, *numbers)
    )
