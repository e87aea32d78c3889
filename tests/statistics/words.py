"""Raw 64-bit words as they lie in parameters, in the orders in which weaknesses would show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from autoinit.sampling import Key, Sampler, derive_key
from autoinit.sampling.sampler import BLOCK

CPU = torch.device("cpu")
ROWS = 1 << 12


def one_bit_apart(count: int) -> list[Key]:
    """Keys of seeds that differ in one bit, then of names that differ in little."""
    seeds = [derive_key(1 << bit, 0, "w") for bit in range(min(64, count))]
    return seeds + [derive_key(0, 0, f"layers.{number}.weight") for number in range(count - len(seeds))]


def words_of(sampler: Sampler, key: Key, start: int, count: int) -> np.ndarray:
    return sampler.bits(key, 2 * start, 2 * count).view(torch.int64).numpy().view(np.uint64).copy()


def within(seed: int = 0, size: int = BLOCK) -> Iterator[np.ndarray]:
    """One parameter, as it lies in memory."""
    sampler, key = Sampler(CPU), derive_key(seed, 0, "layer1.0.conv1.weight")
    start = 0
    while True:
        yield words_of(sampler, key, start, size)
        start += size


def across(keys: int = 256) -> Iterator[np.ndarray]:
    """The same place of many parameters, then the next place: what they owe to the common table is adjacent."""
    sampler, start = Sampler(CPU), 0
    streams = one_bit_apart(keys)
    while True:
        yield np.stack([words_of(sampler, key, start, ROWS) for key in streams], axis=1).ravel()
        start += ROWS


def blocks(count: int = 256) -> Iterator[np.ndarray]:
    """The same place of many blocks of one parameter, then the next place."""
    sampler, key = Sampler(CPU), derive_key(0, 0, "layer1.0.conv1.weight")
    row = 0
    while True:
        group, place = divmod(row, BLOCK)
        starts = [(group * count + block) * BLOCK + place for block in range(count)]
        yield np.stack([words_of(sampler, key, start, ROWS) for start in starts], axis=1).ravel()
        row += ROWS


ORDERS = {"within": within, "across": across, "blocks": blocks}


def take(order: str, count: int) -> np.ndarray:
    parts, have = [], 0
    for part in ORDERS[order]():
        parts.append(part)
        have += len(part)
        if have >= count:
            break
    return np.concatenate(parts)[:count]
