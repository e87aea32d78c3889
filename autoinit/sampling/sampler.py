"""SplitMix64 in counter form, on cache-sized pieces with preallocated buffers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .keys import Key
from .regions import Region
from .transforms import Transform

# Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014, with the constants of
# Stafford's variant 13, as in java.util.SplittableRandom.
GAMMA = 0x9E3779B97F4A7C15
FIRST_MULTIPLIER = 0xBF58476D1CE4E5B9
SECOND_MULTIPLIER = 0x94D049BB133111EB

CPU_PIECE = 1 << 18
ACCELERATOR_PIECE = 1 << 24


def signed(word: int) -> int:
    """The int64 with the same 64 bits: torch has no arithmetic on uint64."""
    word &= (1 << 64) - 1
    return word - (1 << 64) if word >> 63 else word


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
        self._words = 0
        self._grow(1 << 10)

    def _grow(self, words: int) -> None:
        if words > self._words:
            self._words = words
            self._ramp = torch.arange(words, dtype=torch.int64, device=self.device).mul_(signed(GAMMA))
            self._state = torch.empty_like(self._ramp)
            self._shifted = torch.empty_like(self._ramp)
            self._floats = torch.empty(2 * words, dtype=torch.float32, device=self.device)

    def bits(self, key: Key, start: int, count: int) -> Tensor:
        """The 32-bit values `start` to `start + count` of a stream, as int32 in a buffer that the next call reuses.

        Two neighbours share one 64-bit word, the even one its low half.
        """
        first = start >> 1
        words = ((start + count + 1) >> 1) - first
        if words > self._words:
            self._grow(min(max(words, 4 * self._words), max(words, self.piece // 2 + 1)))
        state = self._state[:words]
        torch.add(self._ramp[:words], signed(key.offset + GAMMA * first), out=state)
        self._mix(state, signed(key.twist))
        odd = start & 1
        return state.view(torch.int32)[odd : odd + count]

    def bits_at(self, key: Key, indices: Tensor) -> Tensor:
        """The 32-bit values at any indices of a stream, as int32. Each costs a word, which in `bits` two share."""
        state = (indices >> 1).mul_(signed(GAMMA)).add_(signed(key.offset))
        self._grow(state.numel())
        self._mix(state, signed(key.twist))
        return state.view(torch.int32).view(-1, 2).gather(1, (indices & 1).unsqueeze(1)).squeeze(1)

    def _mix(self, state: Tensor, twist: int | Tensor) -> None:
        shifted = self._shifted[: state.numel()]
        self._xor_shift(state, shifted, 30)
        state.mul_(signed(FIRST_MULTIPLIER)).bitwise_xor_(twist)
        self._xor_shift(state, shifted, 27)
        state.mul_(signed(SECOND_MULTIPLIER))
        self._xor_shift(state, shifted, 31)

    @staticmethod
    def _xor_shift(state: Tensor, shifted: Tensor, by: int) -> None:
        # The mask makes torch's arithmetic shift a logical one, without which the step loses the sign bit.
        torch.bitwise_right_shift(state, by, out=shifted).bitwise_and_((1 << (64 - by)) - 1)
        state.bitwise_xor_(shifted)

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
            floats = self._floats[: slab.numel()]
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
            floats = self._floats[:count]
            transform(bits, floats)
            slab.copy_(floats.view(slab.shape))

    def draw_small(self, outs: Sequence[Tensor], keys: Sequence[Key], transform: Transform) -> None:
        """`draw_into` for many small tensors at once, each from its own stream: the same values, far fewer calls."""
        first, words = 0, 0
        for index, out in enumerate(outs):
            if words and 2 * (words + out.numel()) > self.piece:
                self._draw_together(outs[first:index], keys[first:index], transform)
                first, words = index, 0
            words += (out.numel() + 1) // 2
        if outs:
            self._draw_together(outs[first:], keys[first:], transform)

    def _draw_together(self, outs: Sequence[Tensor], keys: Sequence[Key], transform: Transform) -> None:
        # On the CPU whatever torch's default device is.
        counts = torch.tensor([(out.numel() + 1) // 2 for out in outs], dtype=torch.int64, device="cpu")
        ends = counts.cumsum(0)
        words = int(ends[-1])
        self._grow(words)
        # Each tensor's counter starts at 0: the running number of a word, less that of its tensor's first.
        starts = [signed(key.offset - GAMMA * start) for key, start in zip(keys, (ends - counts).tolist(), strict=True)]
        of_tensors = torch.tensor([starts, [signed(key.twist) for key in keys]], dtype=torch.int64, device="cpu")
        offsets, twists = of_tensors.repeat_interleave(counts, dim=1).to(self.device)
        state = self._state[:words]
        torch.add(self._ramp[:words], offsets, out=state)
        self._mix(state, twists)
        floats = self._floats[: 2 * words]
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
