"""The Triton kernel: on a GPU, one pass from numbers to values, and one launch for all tensors of a distribution.

Its operations are those of `kernel.c`, `normal_quantile.py` and `transforms.py` in the same order, none of them
fused, so the bits are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl

from ..errors import warn
from . import mixing, normal_quantile
from .draws import DTYPES, Draw, Formula, Kernel, formula_of
from .mixing import signed

WORDS = 512  # Number of 64-bit words that one program draws, two values each.
MOST_AXES = 4
COLUMNS = 6 + 3 * MOST_AXES
"""Columns of a job: address, offset, twist, first index, numel, first program; size, step, stride of each axis."""
OUTS = (tl.float32, tl.bfloat16, tl.float16)
OPTIONS = {"enable_fp_fusion": False}  # A fused multiplication and addition is rounded once instead of twice.
LEAST, MOST = tl.constexpr(-(2**31)), tl.constexpr(2**31 - 1)

BLOCK_BITS, PLACE = tl.constexpr(18), tl.constexpr(2**18 - 1)
GAMMA, MULTIPLIER = tl.constexpr(mixing.GAMMA), tl.constexpr(mixing.MULTIPLIER)
FIRST_MULTIPLIER = tl.constexpr(mixing.FIRST_MULTIPLIER)
SECOND_MULTIPLIER = tl.constexpr(mixing.SECOND_MULTIPLIER)

AT_SEAM, SMOOTH = tl.constexpr(normal_quantile.AT_SEAM), tl.constexpr(normal_quantile.SMOOTH)
POLES, TAIL_LEVEL = tl.constexpr(normal_quantile.POLES), tl.constexpr(normal_quantile.TAIL_LEVEL)
LOG_2, LOG_LEVEL = tl.constexpr(normal_quantile.LOG_2), tl.constexpr(normal_quantile.LOG_LEVEL)
LOG_POLES, TAIL_POLES = tl.constexpr(normal_quantile.LOG_POLES), tl.constexpr(normal_quantile.TAIL_POLES)


@triton.jit
def _scattered(number):
    x = number * GAMMA
    x = (x ^ (x >> 30)) * FIRST_MULTIPLIER
    x = (x ^ (x >> 27)) * SECOND_MULTIPLIER
    return x ^ (x >> 31)


@triton.jit
def _words(number, offset, twist):
    block = _scattered(number >> BLOCK_BITS)
    x = _scattered(number & PLACE) * ((twist + block) | 1) + (offset + block)
    x = (x ^ (x >> 32)) * MULTIPLIER
    return x ^ (x >> 32)


@triton.jit
def _halves(words):
    low = (words & 0xFFFFFFFF).to(tl.uint32).to(tl.int32, bitcast=True)
    high = (words >> 32).to(tl.uint32).to(tl.int32, bitcast=True)
    return low, high


@triton.jit
def _pole(numerator, shift, at):
    below = at + shift
    return tl.math.div_rn(tl.full(below.shape, numerator, tl.float32), below)


@triton.jit
def _central(place):
    square = place * place
    total = square * SMOOTH[6]
    for i in tl.static_range(5, 0, -1):
        total = (total + SMOOTH[i]) * square
    total = total + SMOOTH[0]
    rest = 1.0 - square
    total = (total + _pole(POLES[1][0], POLES[1][1], rest)) * place
    value = total + _pole(POLES[0][0], POLES[0][1], rest) * place
    return tl.where(value < AT_SEAM, value, AT_SEAM)


@triton.jit
def _outer(rest):
    word = rest.to(tl.int32, bitcast=True)
    doublings = (127 - (word >> 23)).to(tl.float32)
    fraction = ((word & 0x7FFFFF) | 0x3F800000).to(tl.float32, bitcast=True)
    log = _pole(LOG_POLES[2][0], LOG_POLES[2][1], fraction)
    for i in tl.static_range(1, -1, -1):
        log = log + _pole(LOG_POLES[i][0], LOG_POLES[i][1], fraction)
    log = doublings * LOG_2 + (log - LOG_LEVEL)
    slope = _pole(TAIL_POLES[4][0], TAIL_POLES[4][1], log)
    for i in tl.static_range(3, -1, -1):
        slope = slope + _pole(TAIL_POLES[i][0], TAIL_POLES[i][1], log)
    value = tl.math.sqrt_rn(log) * (TAIL_LEVEL - slope)
    return tl.where(value > AT_SEAM, value, AT_SEAM)


@triton.jit
def _quantiles(bits, first, step, lower, lower_rest, lower_tail, upper, upper_rest, upper_tail, HAS_TAIL: tl.constexpr):
    number = bits.to(tl.int64) - first
    is_below = number < 0
    inwards = tl.where(is_below, -1 - number, number).to(tl.uint32)
    value = _central(inwards.to(tl.float32) * step + tl.where(is_below, lower, upper))
    if HAS_TAIL:
        outwards = tl.where(is_below, bits.to(tl.int64) - LEAST, MOST - bits.to(tl.int64))
        in_tail = outwards < tl.where(is_below, lower_tail, upper_tail)
        rest = outwards.to(tl.uint32).to(tl.float32) * step + tl.where(is_below, lower_rest, upper_rest)
        value = tl.where(in_tail, _outer(tl.where(in_tail, rest, 0.5)), value)
    return tl.where(is_below, -value, value)


@triton.jit
def _rounded(values, OUT: tl.constexpr):
    if OUT == tl.bfloat16:  # To the nearest, ties to even, on every device and in the interpreter.
        word = values.to(tl.uint32, bitcast=True)
        values = ((word + 0x7FFF + ((word >> 16) & 1)) >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    return values.to(OUT)


@triton.jit(do_not_specialize=["lower_tail", "upper_tail", "first"])
def _draw(
    jobs, owners, scale, more_scale, mean, low, high, first, step, lower, lower_rest, lower_tail, upper, upper_rest,
    upper_tail, OUT: tl.constexpr, IS_NORMAL: tl.constexpr, HAS_TAIL: tl.constexpr, HAS_MORE: tl.constexpr,
    HAS_MEAN: tl.constexpr, HAS_BOUNDS: tl.constexpr, AXES: tl.constexpr, WORDS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    job = jobs + tl.load(owners + tl.program_id(0)).to(tl.int64) * COLUMNS
    out = tl.load(job).to(tl.pointer_type(OUT))
    offset, twist = tl.load(job + 1).to(tl.uint64, bitcast=True), tl.load(job + 2).to(tl.uint64, bitcast=True)
    start, count = tl.load(job + 3), tl.load(job + 4)
    tile = tl.program_id(0) - tl.load(job + 5)
    if AXES == 1:
        numbers = (start >> 1) + tile * WORDS + tl.arange(0, WORDS)
        bits = tl.interleave(*_halves(_words(numbers.to(tl.uint64), offset, twist)))
        element = tile * 2 * WORDS + tl.arange(0, 2 * WORDS) - (start & 1)
        place = element * tl.load(job + 8)
    else:
        element = tile * 2 * WORDS + tl.arange(0, 2 * WORDS)
        index, place, rest = element * 0 + start, element * 0, element
        for axis in tl.static_range(AXES - 1, -1, -1):
            size = tl.load(job + 6 + 3 * axis)
            here = rest % size
            rest = rest // size
            index += here * tl.load(job + 7 + 3 * axis)
            place += here * tl.load(job + 8 + 3 * axis)
        even, odd = _halves(_words((index >> 1).to(tl.uint64), offset, twist))
        bits = tl.where((index & 1) != 0, odd, even)
    if IS_NORMAL:
        values = _quantiles(bits, first, step, lower, lower_rest, lower_tail, upper, upper_rest, upper_tail, HAS_TAIL)
        values = values * scale
    else:
        values = bits.to(tl.float32) * scale
        if HAS_MORE:
            values = values * more_scale
    if HAS_MEAN:
        values = values + mean
    if HAS_BOUNDS:
        values = tl.where(values < low, low, values)
        values = tl.where(values > high, high, values)
    tl.store(out + place, _rounded(values, OUT), mask=(element >= 0) & (element < count))


class TritonKernel(Kernel):
    """Draws on CUDA; on the CPU if Triton is interpreted (`TRITON_INTERPRET=1`)."""

    def __init__(self) -> None:
        self._works = True

    def draw(self, draws: Sequence[Draw]) -> list[Draw]:
        """Fill the tensors of all supported requests, one launch per distribution; returns the unsupported ones."""
        alike: dict[tuple[Formula, torch.dtype, int], list[Draw]] = {}
        left = []
        for draw in draws:
            formula, axes = formula_of(draw.transform), len(draw.axes)
            if formula is None or axes > MOST_AXES or not draw.is_possible_on(draw.out.device.type):
                left.append(draw)
            elif draw.out.numel():
                alike.setdefault((formula, draw.out.dtype, axes), []).append(draw)
        for (formula, dtype, axes), together in alike.items():
            try:  # The first launch compiles, which needs a C compiler and a supported GPU.
                if self._works:
                    _launch(together, formula, OUTS[DTYPES.index(dtype)], axes)
            except Exception as error:  # Compilers and drivers raise anything; torch's operators do the work then.
                if together[0].out.device.type == "cpu":  # Interpreted, in a test.
                    raise
                self._works = False
                warn(
                    f"Triton cannot be used ({type(error).__name__}: {error}). The same values are drawn without it, "
                    "more slowly."
                )
            if not self._works:
                left += together
        return left


KERNEL = TritonKernel()


def _launch(draws: Sequence[Draw], formula: Formula, out: Any, axes: int) -> None:
    device, places = draws[0].out.device, formula.places
    rows = []
    for draw in draws:
        row = [draw.out.data_ptr(), signed(draw.key.offset), signed(draw.key.twist), draw.first, draw.out.numel(), 0]
        row += [number for axis in draw.axes for number in axis]
        rows.append(row + [0] * (COLUMNS - len(row)))
    jobs = torch.tensor(rows, dtype=torch.int64, device="cpu")
    programs = jobs[:, 4].add(jobs[:, 3] & 1 if axes == 1 else 0).add(2 * WORDS - 1) // (2 * WORDS)
    jobs[:, 5] = programs.cumsum(0) - programs
    jobs, programs = jobs.to(device), programs.to(device)
    owners = torch.arange(len(draws), dtype=torch.int32, device=device).repeat_interleave(programs)
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        _draw[(len(owners),)](
            jobs, owners, formula.scale, formula.more_scale, formula.mean, formula.low, formula.high,
            places.first, places.step, *places.lower, *places.upper,
            OUT=out, IS_NORMAL=formula.is_normal, HAS_TAIL=bool(places.lower.below or places.upper.below),
            HAS_MORE=formula.more_scale != 1.0, HAS_MEAN=formula.mean != 0.0,
            HAS_BOUNDS=formula.low > -math.inf or formula.high < math.inf,
            AXES=axes, WORDS=WORDS, COLUMNS=COLUMNS, **OPTIONS,
        )  # fmt: skip
