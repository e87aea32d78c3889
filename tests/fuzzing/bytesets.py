"""Bytes changed at random, and made smaller."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x20, 0x22, 0x5B, 0x7B)


def mutated(data: bytes, rng: random.Random, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A few changes: bits, bytes, numbers, pieces cut, repeated, moved, taken from others, and words put in."""
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        data = _changed(data, rng, others, words)
    return data


def _changed(data: bytes, rng: random.Random, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 2, 4, 8, 30, 200)))
    match rng.randrange(9):
        case 0 if data:
            spot = min(at, len(data) - 1)
            return data[:spot] + bytes([data[spot] ^ 1 << rng.randrange(8)]) + data[spot + 1 :]
        case 1:
            return data[:at] + bytes([rng.choice(EDGES)]) + data[at + 1 :]
        case 2:
            return data[:at] + data[end:]
        case 3:
            return data[:at]
        case 4:
            return data[:end] + data[at:end] * rng.choice((1, 1, 2, 300)) + data[end:]
        case 5:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            return data[:at] + other[start : start + rng.choice((4, 40, 1 << 20))] + data[end:]
        case 6:
            number = rng.choice((0, 1, 255, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, rng.getrandbits(64)))
            width = rng.choice((2, 4, 8))
            packed = (number % (1 << 8 * width)).to_bytes(width, rng.choice(("little", "big")))
            return data[:at] + packed + data[at + width :]
        case _:
            return data[:at] + rng.choice(words) + data[rng.choice((at, end)) :]


def smaller(data: bytes) -> Iterator[bytes]:
    """Without a piece: large pieces first."""
    size = len(data) // 2
    while size:
        for at in range(0, len(data), size):
            yield data[:at] + data[at + size :]
        size //= 4
