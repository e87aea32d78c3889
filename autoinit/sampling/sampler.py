"""The sampler: draws any range of any random stream, with a kernel or with torch's operators on cache-sized pieces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from .draws import Draw
from .kernels import kernel_on
from .keys import VERSION, Key
from .mixing import finish, scattered, scattered_number, signed
from .regions import Region
from .transforms import Transform
from .version1 import in_version1

BLOCK = 1 << 18
"""Length of the table, and number of words that share a multiplier and a summand. Part of the definition."""

# Large enough that the calls cost little beside the work, small enough for the second- or third-level cache.
CPU_PIECE = BLOCK // 2
ACCELERATOR_PIECE = 1 << 24


SMALL = 1 << 12
"""Below this number of values a draw costs mostly its calls, so small tensors are drawn together."""


class Sampler:
    """Draws any range of any stream on one device; its temporary memory is that of one piece.

    Args:
        device: Device of the tensors.
        piece: Number of values drawn at a time; the values do not depend on it.
        version: Version of the definition of the values, 1 or 2.
        use_kernel: Whether to use the kernel of the device, if there is one; the values are the same.

    Example:
        >>> import torch
        >>> from autoinit.sampling import Sampler, derive_key
        >>> sampler, key = Sampler(torch.device("cpu")), derive_key(0, 0, "weight")
        >>> whole = sampler.bits(key, 0, 10).clone()
        >>> bool((sampler.bits(key, 3, 4) == whole[3:7]).all())
        True
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
        self._state = torch.empty(0, dtype=torch.int64, device=device)
        self._floats = torch.empty(0, dtype=torch.float32, device=device)

    def _table_of(self, words: int) -> Tensor:
        """The first `words` entries of the table at least, or all of it."""
        words = min(words, BLOCK)
        if words > self._table.numel():
            size = min(max(words, 4 * self._table.numel(), 1 << 10), BLOCK)
            self._table = scattered(torch.arange(size, dtype=torch.int64, device=self.device))
        return self._table

    def _state_of(self, words: int) -> Tensor:
        """Buffer for random words."""
        if words > self._state.numel():
            size = min(max(words, 4 * self._state.numel(), 1 << 10), max(words, self.piece // 2 + 1))
            self._state = torch.empty(size, dtype=torch.int64, device=self.device)
        return self._state[:words]

    def _floats_of(self, count: int) -> Tensor:
        """Buffer for values that are copied to another dtype or layout."""
        if count > self._floats.numel():
            size = min(max(count, 4 * self._floats.numel(), 1 << 10), max(count, self.piece))
            self._floats = torch.empty(size, dtype=torch.float32, device=self.device)
        return self._floats[:count]

    def bits(self, key: Key, start: int, count: int) -> Tensor:
        """The 32-bit values `start` to `start + count` of a stream, as int32 in a buffer that the next call reuses.

        Two neighbours share one 64-bit word, the even one its low half.
        """
        return self._bits(key, start, (count,), (1,))

    def _bits(self, key: Key, first: int, shape: tuple[int, ...], steps: tuple[int, ...]) -> Tensor:
        """`bits` on a grid: element i of the result is value `first + sum(i * steps)` of the stream.

        A step of 1 may only be the last; all others have to be even, so that all rows begin in the same half of a word.
        """
        if steps[-1] != 1:
            return self._bits(key, first, (*shape, 1), (*steps, 1)).squeeze(-1)
        odd = first & 1
        counts = (*shape[:-1], (odd + shape[-1] + 1) >> 1)
        state = self._state_of(math.prod(counts))
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
            if count > 0:
                self._select_in(key, block, place, steps, out[done : done + count])
            else:
                self._select(key, first + done * steps[0], steps[1:], out[done])
            done += max(count, 1)

    def _select_in(self, key: Key, block: int, place: int, steps: tuple[int, ...], out: Tensor) -> None:
        scatter = scattered_number(block)
        reach = sum((size - 1) * step for size, step in zip(out.shape, steps, strict=True))
        table = self._table_of(place + reach + 1).as_strided(out.shape, steps, place)
        summand = torch.tensor(signed(key.offset + scatter), dtype=torch.int64, device="cpu")
        # One pass for the multiplication and the addition.
        torch.add(summand, table, alpha=signed((key.twist + scatter) | 1), out=out)

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
        left = self._left(draws)
        if not left:
            return
        small: dict[Transform, list[Draw]] = {}
        with self._quietly():
            for draw in left:
                if draw.out.numel() > SMALL:
                    self._draw(draw)
                else:
                    small.setdefault(self._defined(draw.transform), []).append(draw)
            for transform, alike in small.items():
                self._draw_small(alike, transform)

    def draw_region(self, out: Tensor, key: Key, transform: Transform, region: Region) -> None:
        """Fill the part of `out` that holds a region with what `draw_into` would give to that region of the whole."""
        draws = [Draw(view, key, transform, first, steps) for view, first, steps in region.blocks(out)]
        left = self._left(draws)
        with self._quietly():
            for draw in left:
                self._draw(draw)

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Context with one intra-op thread on the CPU.

        A draw has about fifty passes, and each pass ends with a barrier at which all threads wait for the slowest. On a
        busy machine a value takes 100 ns with two threads and 10 ns with one.
        """
        threads = torch.get_num_threads()
        if self.device.type != "cpu" or threads == 1:
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def _left(self, draws: Sequence[Draw]) -> Sequence[Draw]:
        """Draw with the kernel; returns the requests that are left."""
        return draws if self._kernel is None else self._kernel.draw(draws)

    def _draw(self, draw: Draw) -> None:
        self.drawing = draw.key
        transform, steps = self._defined(draw.transform), draw.steps
        for number, slab in slabs(draw.out, self.piece, draw.first, steps):
            in_place = slab.dtype == torch.float32 and slab.is_contiguous()
            floats = slab if in_place else self._floats_of(slab.numel()).view(slab.shape)
            shape, merged = merge_axes(slab.shape, steps[len(steps) - slab.dim() :])
            transform(self._any_bits(draw.key, number, shape, merged), floats.view(shape))
            if not in_place:
                slab.copy_(floats)

    def _defined(self, transform: Transform) -> Transform:
        return in_version1(transform) if self.version == 1 else transform

    def _any_bits(self, key: Key, first: int, shape: tuple[int, ...], steps: tuple[int, ...]) -> Tensor:
        """`_bits` for any steps: every other row by itself where rows begin in either half of a word."""
        rows = steps[:-1] if steps[-1] == 1 else steps
        axis = next((axis for axis, step in enumerate(rows) if step % 2), None)
        if axis is None:
            return self._bits(key, first, shape, steps)
        bits = torch.empty(shape, dtype=torch.int32, device=self.device)
        doubled = (*steps[:axis], 2 * steps[axis], *steps[axis + 1 :])
        for half in (0, 1):
            every_other = bits[(slice(None),) * axis + (slice(half, None, 2),)]
            number = first + half * steps[axis]
            every_other.copy_(self._any_bits(key, number, tuple(every_other.shape), doubled))
        return bits

    def _draw_small(self, draws: Sequence[Draw], transform: Transform) -> None:
        """Draw small tensors of one distribution together, as many as one piece holds."""
        first, words = 0, 0
        for index, draw in enumerate(draws):
            if words and 2 * (words + draw.out.numel()) > self.piece:
                self._draw_together(draws[first:index], transform)
                first, words = index, 0
            words += (draw.out.numel() + 1) // 2
        self._draw_together(draws[first:], transform)

    def _draw_together(self, draws: Sequence[Draw], transform: Transform) -> None:
        if len(draws) == 1:
            self._draw(draws[0])
            return
        self.drawing = None
        outs, keys = [draw.out for draw in draws], [draw.key for draw in draws]
        # On the CPU whatever torch's default device is.
        counts = torch.tensor([(out.numel() + 1) // 2 for out in outs], dtype=torch.int64, device="cpu")
        ends = counts.cumsum(0)
        words = int(ends[-1])
        of_keys = [[signed(key.twist | 1) for key in keys], [signed(key.offset) for key in keys]]
        of_tensors = torch.cat([(ends - counts).unsqueeze(0), torch.tensor(of_keys, dtype=torch.int64, device="cpu")])
        starts, multipliers, summands = of_tensors.repeat_interleave(counts, dim=1).to(self.device)
        # Each tensor's words begin at the front of the table.
        places = torch.arange(words, dtype=torch.int64, device=self.device).sub_(starts)
        state = torch.index_select(self._table_of(words), 0, places, out=self._state_of(words))
        finish(state.mul_(multipliers).add_(summands))
        floats = self._floats_of(2 * words)
        transform(state.view(torch.int32), floats)
        for key, out, values in zip(keys, outs, torch.split(floats, (2 * counts).tolist()), strict=True):
            self.drawing = key
            out.copy_(values[: out.numel()].view(out.shape))


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Increment of the row-major index along each axis."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def merge_axes(shape: Sequence[int], steps: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Merge axes that have a common step, and drop axes of size 1; at least one axis is left.

    Example:
        >>> merge_axes((4, 3, 5), (60, 5, 1))
        ((4, 15), (60, 1))
    """
    merged: list[tuple[int, int]] = []
    for size, step in zip(shape, steps, strict=True):
        if merged and merged[-1][1] == size * step:
            merged[-1] = (merged[-1][0] * size, step)
        elif size != 1:
            merged.append((size, step))
    sizes, apart = zip(*merged or [(1, 1)], strict=True)
    return sizes, apart


def slabs(
    tensor: Tensor, limit: int, start: int = 0, steps: tuple[int, ...] | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Views that tile a tensor in row-major order, of at most `limit` elements each, with the index of their first.

    Args:
        tensor: The tensor, of any strides.
        limit: Largest number of elements of a view.
        start: Index of the tensor's first element.
        steps: How much the index grows along each axis; by default in row-major order.

    Example:
        >>> import torch
        >>> [(start, tuple(slab.shape)) for start, slab in slabs(torch.empty(3, 4), limit=8)]
        [(0, (2, 4)), (8, (1, 4))]
        >>> [(start, tuple(slab.shape)) for start, slab in slabs(torch.empty(2, 5), limit=3)]
        [(0, (3,)), (3, (2,)), (5, (3,)), (8, (2,))]
    """
    if tensor.numel() <= limit:
        if tensor.numel():
            yield start, tensor
        return
    steps = row_major(tensor.shape) if steps is None else steps
    row = tensor.numel() // tensor.shape[0]
    if row > limit:
        for index in range(tensor.shape[0]):
            yield from slabs(tensor[index], limit, start + index * steps[0], steps[1:])
        return
    count = limit // row
    for index in range(0, tensor.shape[0], count):
        yield start + index * steps[0], tensor[index : index + count]
