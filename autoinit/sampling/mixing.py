"""Integer mixing functions on int64 tensors, whose arithmetic wraps like that of unsigned 64-bit words."""

from __future__ import annotations

import torch
from torch import Tensor

# Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014, with the constants of
# Stafford's variant 13, as in java.util.SplittableRandom.
GAMMA = 0x9E3779B97F4A7C15
FIRST_MULTIPLIER = 0xBF58476D1CE4E5B9
SECOND_MULTIPLIER = 0x94D049BB133111EB

# The multiplier of the widely used 64-bit mixer that shifts by 32 throughout.
MULTIPLIER = 0xD6E8FEB86659FD93

MASK = (1 << 64) - 1


def signed(word: int) -> int:
    """The int64 with the same low 64 bits: torch has no arithmetic on uint64."""
    return ((word + (1 << 63)) & MASK) - (1 << 63)


def scattered(numbers: Tensor) -> Tensor:
    """The outputs of SplitMix64 from seed 0 with these numbers, in-place; number 0 gives 0."""
    numbers.mul_(signed(GAMMA))
    for shift, multiplier in ((30, FIRST_MULTIPLIER), (27, SECOND_MULTIPLIER), (31, 1)):
        # The mask makes torch's arithmetic shift a logical one.
        numbers.bitwise_xor_((numbers >> shift).bitwise_and_(MASK >> shift)).mul_(signed(multiplier))
    return numbers


def scattered_number(number: int) -> int:
    """`scattered` for one number, as a 64-bit word in a Python integer."""
    word = number * GAMMA & MASK
    word = (word ^ word >> 30) * FIRST_MULTIPLIER & MASK
    word = (word ^ word >> 27) * SECOND_MULTIPLIER & MASK
    return word ^ word >> 31


def finish(words: Tensor) -> None:
    """The last three mixing steps of a word, in-place: fold, multiply, fold. A bijection."""
    low, high = words.view(torch.int32).view(-1, 2).unbind(1)
    # `word ^ (word >>> 32)`, in one pass over the low halves instead of shift, mask and xor.
    low.bitwise_xor_(high)
    words.mul_(signed(MULTIPLIER))
    low.bitwise_xor_(high)
