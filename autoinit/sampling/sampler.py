"""Words from a table, through a function that each key selects, on cache-sized pieces with preallocated buffers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .keys import Key
from .mixing import finish, scattered, scattered_number, signed
from .regions import Region
from .transforms import Transform

BLOCK = 1 << 18
"""The length of the table, and how many words of a stream share a multiplier and a summand. Part of the definition."""

# Large enough that the calls cost little beside the work, on several threads too, of which torch gives each at least
# 2**15 elements; small enough for the second- or third-level cache.
CPU_PIECE = 2 * BLOCK
ACCELERATOR_PIECE = 1 << 24


class Sampler:
    """Draws any range of any stream on one device, with the memory of one piece.

    Args:
        device: where the values are wanted.
        piece: how many values are drawn at a time; the values do not depend on it.

    Example:
        >>> import torch
        >>> from autoinit.sampling import Sampler, derive_key
        >>> sampler, key = Sampler(torch.device("cpu")), derive_key(0, 0, "weight")
        >>> whole = sampler.bits(key, 0, 10).clone()
        >>> bool((sampler.bits(key, 3, 4) == whole[3:7]).all())
        True
    """

    def __init__(self, device: torch.device, piece: int | None = None) -> None:
        self.piece = piece or (CPU_PIECE if device.type == "cpu" else ACCELERATOR_PIECE)
        self.device = device
        self._table = torch.empty(0, dtype=torch.int64, device=device)
        self._state = torch.empty(0, dtype=torch.int64, device=device)
        self._floats = torch.empty(0, dtype=torch.float32, device=device)

    def _table_of(self, words: int) -> Tensor:
        """The table as far as `words`, all of it if that is more."""
        words = min(words, BLOCK)
        if words > self._table.numel():
            size = min(max(words, 4 * self._table.numel(), 1 << 10), BLOCK)
            self._table = scattered(torch.arange(size, dtype=torch.int64, device=self.device))
        return self._table

    def _state_of(self, words: int) -> Tensor:
        """A buffer for words."""
        if words > self._state.numel():
            size = min(max(words, 4 * self._state.numel(), 1 << 10), max(words, self.piece // 2 + 1))
            self._state = torch.empty(size, dtype=torch.int64, device=self.device)
        return self._state[:words]

    def _floats_of(self, count: int) -> Tensor:
        """A buffer for values on their way into another dtype or layout."""
        if count > self._floats.numel():
            size = min(max(count, 4 * self._floats.numel(), 1 << 10), max(count, self.piece))
            self._floats = torch.empty(size, dtype=torch.float32, device=self.device)
        return self._floats[:count]

    def bits(self, key: Key, start: int, count: int) -> Tensor:
        """The 32-bit values `start` to `start + count` of a stream, as int32 in a buffer that the next call reuses.

        Two neighbours share one 64-bit word, the even one its low half.
        """
        first = start >> 1
        words = ((start + count + 1) >> 1) - first
        state = self._state_of(words)
        done = 0
        while done < words:
            block, place = divmod(first + done, BLOCK)
            size = min(BLOCK - place, words - done)
            self._select(key, block, place, state[done : done + size])
            done += size
        finish(state)
        odd = start & 1
        return state.view(torch.int32)[odd : odd + count]

    def _select(self, key: Key, block: int, place: int, out: Tensor) -> None:
        """The affine step for one run of words within a block."""
        scatter = scattered_number(block)
        table = self._table_of(place + out.numel())[place : place + out.numel()]
        summand = torch.tensor(signed(key.offset + scatter), dtype=torch.int64, device="cpu")
        # One pass for the multiplication and the addition.
        torch.add(summand, table, alpha=signed((key.twist + scatter) | 1), out=out)

    def bits_at(self, key: Key, indices: Tensor) -> Tensor:
        """The 32-bit values at any indices of a stream, as int32. Each costs a word, which in `bits` two share."""
        words = indices >> 1
        scatter = scattered(words // BLOCK)
        state = scattered(words.remainder_(BLOCK))
        state.mul_((scatter + signed(key.twist)).bitwise_or_(1)).add_(scatter.add_(signed(key.offset)))
        finish(state)
        return state.view(torch.int32).view(-1, 2).gather(1, (indices & 1).unsqueeze(1)).squeeze(1)

    def draw_into(self, out: Tensor, key: Key, transform: Transform) -> None:
        """Fill `out` with the first `out.numel()` values of a stream, in row-major order of its logical indices.

        `out` may have any floating dtype and any strides. Values are made in float32 and rounded once.
        """
        if out.dtype == torch.float32 and out.is_contiguous():
            flat = out.view(-1)
            for start in range(0, flat.numel(), self.piece):
                target = flat[start : start + self.piece]
                transform(self.bits(key, start, target.numel()), target)
            return
        for start, slab in slabs(out, self.piece):
            bits = self.bits(key, start, slab.numel())
            floats = self._floats_of(slab.numel())
            transform(bits, floats)
            slab.copy_(floats.view(slab.shape))

    def draw_region(self, out: Tensor, key: Key, transform: Transform, region: Region) -> None:
        """Fill `out`, which has a region of a tensor, with what `draw_into` would give to that region of the whole."""
        for start, slab in slabs(out, self.piece):
            count = slab.numel()
            if region.run is not None:
                bits = self.bits(key, region.run + start, count)
            else:
                bits = self.bits_at(key, region.indices(start, count, out.device))
            floats = self._floats_of(count)
            transform(bits, floats)
            slab.copy_(floats.view(slab.shape))

    def draw_small(self, outs: Sequence[Tensor], keys: Sequence[Key], transform: Transform) -> None:
        """`draw_into` for many small tensors at once, each from its own stream: the same values, far fewer calls.

        None of them may have more than 2 * BLOCK values.
        """
        first, words = 0, 0
        for index, out in enumerate(outs):
            if words and 2 * (words + out.numel()) > self.piece:
                self._draw_together(outs[first:index], keys[first:index], transform)
                first, words = index, 0
            words += (out.numel() + 1) // 2
        if outs:
            self._draw_together(outs[first:], keys[first:], transform)

    def _draw_together(self, outs: Sequence[Tensor], keys: Sequence[Key], transform: Transform) -> None:
        if len(outs) == 1:
            self.draw_into(outs[0], keys[0], transform)
            return
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
        for out, values in zip(outs, torch.split(floats, (2 * counts).tolist()), strict=True):
            out.copy_(values[: out.numel()].view(out.shape))


def slabs(tensor: Tensor, limit: int, start: int = 0) -> Iterator[tuple[int, Tensor]]:
    """Views that tile a tensor in row-major order, of at most `limit` elements each, with their first index.

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
    row = tensor.numel() // tensor.shape[0]
    if row > limit:
        for index in range(tensor.shape[0]):
            yield from slabs(tensor[index], limit, start + index * row)
        return
    step = limit // row
    for index in range(0, tensor.shape[0], step):
        yield start + index * row, tensor[index : index + step]
