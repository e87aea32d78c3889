"""Integer mixing functions on int64 tensors, whose arithmetic wraps like that of unsigned 64-bit words."""

from __future__ import annotations

import torch
from torch import Tensor

# Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014, with the constants of
# Stafford's variant 13, as in java.util.SplittableRandom.
GAMMA = 0x9E3779B97F4A7C15
FIRST_MULTIPLIER = 0xBF58476D1CE4E5B9
SECOND_MULTIPLIER = 0x94D049BB133111EB

# Of the widely used 64-bit mixer that shifts by 32 throughout.
MULTIPLIER = 0xD6E8FEB86659FD93


def signed(word: int) -> int:
    """The int64 with the same 64 bits: torch has no arithmetic on uint64.

    Example:
        >>> signed(2**64 - 1), signed(5)
        (-1, 5)
    """
    word &= (1 << 64) - 1
    return word - (1 << 64) if word >> 63 else word


def splitmix64(states: Tensor) -> Tensor:
    """The output of SplitMix64 for each state, in place.

    Example:
        >>> import torch
        >>> hex(
        ...     int(splitmix64(torch.tensor([signed(GAMMA)]))) % 2**64
        ... )  # the first output for seed 0
        '0xe220a8397b1dcdaf'
    """
    _xor_shift(states, 30)
    states.mul_(signed(FIRST_MULTIPLIER))
    _xor_shift(states, 27)
    states.mul_(signed(SECOND_MULTIPLIER))
    _xor_shift(states, 31)
    return states


def _xor_shift(words: Tensor, by: int) -> None:
    # The mask makes torch's arithmetic shift a logical one, without which the step loses the sign bit.
    words.bitwise_xor_((words >> by).bitwise_and_((1 << (64 - by)) - 1))


def scattered(numbers: Tensor) -> Tensor:
    """The outputs of SplitMix64 from seed 0 with these numbers, in place; number 0 gives 0.

    Example:
        >>> import torch
        >>> scattered(torch.arange(3)).tolist()
        [0, -2152535657050944081, 7960286522194355700]
    """
    return splitmix64(numbers.mul_(signed(GAMMA)))


def scattered_number(number: int) -> int:
    """`scattered` for one number, as a 64-bit word in a Python integer."""
    mask = (1 << 64) - 1
    word = number * GAMMA & mask
    word = (word ^ word >> 30) * FIRST_MULTIPLIER & mask
    word = (word ^ word >> 27) * SECOND_MULTIPLIER & mask
    return word ^ word >> 31


def fold(words: Tensor) -> None:
    """`word ^ (word >>> 32)` in-place: one pass over the low halves instead of shift, mask and xor."""
    halves = words.view(torch.int32).view(-1, 2)
    halves[:, 0].bitwise_xor_(halves[:, 1])


def finish(words: Tensor) -> None:
    """The last three mixing steps of a word, in-place: fold, multiply, fold. A bijection."""
    fold(words)
    words.mul_(signed(MULTIPLIER))
    fold(words)
