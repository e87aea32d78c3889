"""The sampler: draws any range of any random stream, with a kernel or with torch's operators on cache-sized pieces."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from . import c_kernel
from .draws import Draw, Kernel
from .keys import VERSION, Key
from .mixing import finish, scattered, scattered_number, signed
from .regions import Region, row_major
from .transforms import Transform
from .version1 import in_version1

BLOCK = 1 << 18
"""Length of the table, and number of words that share a multiplier and a summand. Part of the definition."""

# Large enough that the calls cost little beside the work, small enough for the second- or third-level cache.
CPU_PIECE = BLOCK // 2
ACCELERATOR_PIECE = 1 << 24

SMALL = 1 << 12  # Below this number of values a draw costs mostly its calls, so small tensors are drawn together.


def kernel_on(device: torch.device) -> Kernel | None:
    """The kernel for a device: compiled C on the CPU, Triton on CUDA; without one torch's operators draw the values."""
    if device.type == "cpu":
        return c_kernel.kernel()
    if device.type == "cuda" and torch.version.cuda and importlib.util.find_spec("triton") is not None:
        from .triton_kernel import KERNEL

        return KERNEL
    return None


class Sampler:
    """Draws any range of any stream on one device. Neither `piece` nor `use_kernel` changes a value.

    Args:
        device: Device of the tensors.
        piece: Number of values drawn at a time, which bounds the temporary memory.
        version: Version of the definition of the values, 1 or 2.
    """

    def __init__(
        self, device: torch.device, piece: int | None = None, *, version: int = VERSION, use_kernel: bool = True
    ) -> None:
        self.version = version
        self._kernel = kernel_on(device) if use_kernel and version == VERSION else None
        self.piece = piece or (CPU_PIECE if device.type == "cpu" else ACCELERATOR_PIECE)
        self.device = device
        self.drawing: Key | None = None
        """Key of the tensor that was being written when a draw failed; None if several were."""
        self._table = torch.empty(0, dtype=torch.int64, device=device)
        self._buffers: dict[torch.dtype, Tensor] = {}

    def bits(self, key: Key, start: int, count: int) -> Tensor:
        """The 32-bit values `start` to `start + count` of a stream, as int32 in a buffer that the next call reuses."""
        return self._bits(key, start, (count,), (1,))

    def draw_into(self, out: Tensor, key: Key, transform: Transform) -> None:
        """Fill `out` with the first `out.numel()` values of a stream, in row-major order of its logical indices.

        `out` may have any floating dtype and any strides. Values are made in float32 and rounded once.
        """
        self.draw_each([out], [key], [transform])

    def draw_each(self, outs: Sequence[Tensor], keys: Sequence[Key], transforms: Sequence[Transform]) -> None:
        """`draw_into` for many tensors, each from its own stream: the same values with far fewer calls."""
        draws, self.drawing = [], None
        for out, key, transform in zip(outs, keys, transforms, strict=True):
            flat = out.view(-1) if out.is_contiguous() else out
            draws.append(Draw(flat, key, transform, 0, row_major(flat.shape)))
        small: dict[Transform, list[Draw]] = {}
        with self._left(draws) as left:
            for draw in left:
                if draw.out.numel() > SMALL:
                    self._draw(draw)
                else:
                    small.setdefault(draw.transform, []).append(draw)
            for alike in small.values():
                count = max(self.piece // (max(draw.out.numel() for draw in alike) + 1), 1)
                for first in range(0, len(alike), count):
                    self._draw_together(alike[first : first + count])

    def draw_region(self, out: Tensor, key: Key, transform: Transform, region: Region) -> None:
        """Fill a tensor that holds a region with the values that `draw_into` gives to that region of the whole."""
        with self._left(
            [Draw(view, key, transform, first, steps) for view, first, steps in region.blocks(out)]
        ) as left:
            for draw in left:
                self._draw(draw)

    @contextmanager
    def _left(self, draws: Sequence[Draw]) -> Iterator[Sequence[Draw]]:
        """Draw with the kernel; context for drawing the rest, with one intra-op thread on the CPU.

        Each of about fifty passes ends with a barrier, at which on a busy machine all threads wait for the slowest.
        """
        left = self._kernel.draw(draws) if self._kernel is not None else draws
        threads = torch.get_num_threads()
        if not left or self.device.type != "cpu" or threads == 1:
            yield left
            return
        torch.set_num_threads(1)
        try:
            yield left
        finally:
            torch.set_num_threads(threads)

    def _draw(self, draw: Draw) -> None:
        self.drawing = draw.key
        transform, steps = self._defined(draw.transform), draw.steps
        for number, slab in slabs(draw.out, self.piece, draw.first, steps):
            in_place = slab.dtype == torch.float32 and slab.is_contiguous()
            floats = slab if in_place else self._buffer(torch.float32, slab.numel()).view(slab.shape)
            axes = Draw(floats, draw.key, transform, number, steps[len(steps) - slab.dim() :]).axes
            shape, merged, _ = zip(*axes, strict=True)
            transform(self._bits(draw.key, number, shape, merged), floats.view(shape))
            if not in_place:
                slab.copy_(floats)

    def _draw_together(self, draws: Sequence[Draw]) -> None:
        """Draw small tensors of one distribution."""
        if len(draws) == 1:
            self._draw(draws[0])
            return
        self.drawing = None
        counts = torch.tensor([(draw.out.numel() + 1) // 2 for draw in draws], dtype=torch.int64, device="cpu")
        starts = counts.cumsum(0) - counts
        of_keys = [[signed(draw.key.twist | 1) for draw in draws], [signed(draw.key.offset) for draw in draws]]
        of_draws = torch.cat([starts.unsqueeze(0), torch.tensor(of_keys, dtype=torch.int64, device="cpu")])
        first, multipliers, summands = of_draws.repeat_interleave(counts, dim=1).to(self.device)
        words = first.numel()
        # Each tensor's words begin at the front of the table.
        places = torch.arange(words, dtype=torch.int64, device=self.device).sub_(first)
        state = torch.index_select(self._table_of(words), 0, places, out=self._buffer(torch.int64, words))
        finish(state.mul_(multipliers).add_(summands))
        floats = self._buffer(torch.float32, 2 * words)
        self._defined(draws[0].transform)(state.view(torch.int32), floats)
        for draw, values in zip(draws, torch.split(floats, (2 * counts).tolist()), strict=True):
            self.drawing = draw.key
            draw.out.copy_(values[: draw.out.numel()].view(draw.out.shape))

    def _defined(self, transform: Transform) -> Transform:
        return in_version1(transform) if self.version == 1 else transform

    def _bits(self, key: Key, first: int, shape: tuple[int, ...], steps: tuple[int, ...]) -> Tensor:
        """`bits` on a grid, whose last step is 1: element i is value `first + sum(i * steps)` of the stream."""
        axis = next((axis for axis, step in enumerate(steps[:-1]) if step % 2), None)
        if axis is not None:  # Rows begin in either half of a word: every other row by itself.
            bits = torch.empty(shape, dtype=torch.int32, device=self.device)
            doubled = (*steps[:axis], 2 * steps[axis], *steps[axis + 1 :])
            for half in (0, 1):
                rows = bits[(slice(None),) * axis + (slice(half, None, 2),)]
                rows.copy_(self._bits(key, first + half * steps[axis], tuple(rows.shape), doubled))
            return bits
        odd = first & 1
        counts = (*shape[:-1], (odd + shape[-1] + 1) >> 1)
        state = self._buffer(torch.int64, math.prod(counts))
        self._select(key, first >> 1, (*(step >> 1 for step in steps[:-1]), 1), state.view(counts))
        finish(state)
        return state.view(torch.int32).view(*counts[:-1], 2 * counts[-1])[..., odd : odd + shape[-1]]

    def _select(self, key: Key, first: int, steps: tuple[int, ...], out: Tensor) -> None:
        """The affine step for a grid of words, as many rows at a time as are in one block."""
        row = sum((size - 1) * step for size, step in zip(out.shape[1:], steps[1:], strict=True))
        done = 0
        while done < out.shape[0]:
            block, place = divmod(first + done * steps[0], BLOCK)
            count = min((BLOCK - 1 - place - row) // steps[0] + 1, out.shape[0] - done)
            if count <= 0:  # One row crosses a border of blocks.
                self._select(key, first + done * steps[0], steps[1:], out[done])
                done += 1
                continue
            rows, scatter = out[done : done + count], scattered_number(block)
            table = self._table_of(place + (count - 1) * steps[0] + row + 1).as_strided(rows.shape, steps, place)
            summand = torch.tensor(signed(key.offset + scatter), dtype=torch.int64, device="cpu")
            # One pass for the multiplication and the addition.
            torch.add(summand, table, alpha=signed((key.twist + scatter) | 1), out=rows)
            done += count

    def _table_of(self, words: int) -> Tensor:
        """The first `words` entries of the table at least, or all of it."""
        if min(words, BLOCK) > self._table.numel():
            size = min(max(4 * words, 1 << 10), BLOCK)
            self._table = scattered(torch.arange(size, dtype=torch.int64, device=self.device))
        return self._table

    def _buffer(self, dtype: torch.dtype, count: int) -> Tensor:
        """Temporary memory, which the next call reuses: one piece at most, unless more is needed at once."""
        if dtype not in self._buffers or count > self._buffers[dtype].numel():
            size = max(count, min(max(4 * count, 1 << 10), 4 * self.piece // dtype.itemsize))
            self._buffers[dtype] = torch.empty(size, dtype=dtype, device=self.device)
        return self._buffers[dtype][:count]


def slabs(
    tensor: Tensor, limit: int, start: int = 0, steps: tuple[int, ...] | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Views that tile a tensor in row-major order, of at most `limit` elements each, with the index of their first.

    The index of the tensor's first element is `start`, and `steps` its increment along each axis, by default row-major.

    Example:
        >>> [(start, tuple(slab.shape)) for start, slab in slabs(torch.empty(2, 5), limit=3)]
        [(0, (3,)), (3, (2,)), (5, (3,)), (8, (2,))]
    """
    if tensor.numel() <= limit:
        if tensor.numel():
            yield start, tensor
        return
    steps = row_major(tensor.shape) if steps is None else steps
    count = limit * tensor.shape[0] // tensor.numel()  # rows
    for index in range(0, tensor.shape[0], max(count, 1)):
        first = start + index * steps[0]
        if count:
            yield first, tensor[index : index + count]
        else:
            yield from slabs(tensor[index], limit, first, steps[1:])
