"""Tests of 64-bit words, bit by bit. Each gives one p-value; of several within it, the least times their number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats


def least(pvalues: np.ndarray) -> float:
    """Bonferroni's bound for the least of some p-values."""
    return min(1.0, float(np.min(pvalues)) * np.size(pvalues))


def of_normal(z: np.ndarray) -> float:
    """The p-value of the one farthest out of standard normal numbers."""
    return least(2 * stats.norm.sf(np.abs(z)))


def unpacked(words: np.ndarray) -> np.ndarray:
    """-1 or 1 for each bit, the lowest first."""
    flat = np.unpackbits(words.view(np.uint8), bitorder="little").reshape(len(words), 64)
    return flat.astype(np.float32) * 2 - 1


def bit_counts(words: np.ndarray) -> float:
    """Each of the 64 bits is set half of the time."""
    return of_normal(unpacked(words).sum(0, dtype=np.float64) / np.sqrt(len(words)))


def bit_pairs(words: np.ndarray) -> float:
    """No two bits of a word, or of a word and the next, or the next but one, go together."""
    signs = unpacked(words[: 1 << 18])
    scale = np.sqrt(len(signs))
    pairs = [(signs.T @ signs)[np.triu_indices(64, 1)]]
    pairs += [(signs[:-lag].T @ signs[lag:]).ravel() for lag in (1, 2)]
    return of_normal(np.concatenate(pairs) / scale)


def ranks(rows: np.ndarray) -> np.ndarray:
    """Ranks over GF(2) of 64 x 64 matrices, each given as 64 words."""
    rows = rows.copy()
    found = np.zeros(len(rows), dtype=np.int64)
    every = np.arange(len(rows))
    used = np.zeros(rows.shape, dtype=bool)
    for bit in range(64):
        has = (rows >> np.uint64(bit) & np.uint64(1)).astype(bool)
        free = has & ~used
        there = free.any(1)
        pivot = free.argmax(1)
        used[every[there], pivot[there]] = True
        cleared = has & there[:, None]
        cleared[every, pivot] = False
        rows ^= np.where(cleared, rows[every, pivot][:, None], np.uint64(0))
        found += there
    return found


def rank_pvalue(found: np.ndarray) -> float:
    shares = np.array([0.2887880951, 0.5775761902, 0.1283502645, 0.0052854502])
    counts = np.bincount(np.minimum(64 - found, 3), minlength=4)
    return float(stats.chisquare(counts, shares / shares.sum() * len(found)).pvalue)


def matrix_ranks(words: np.ndarray) -> float:
    """Matrices of whole words, and of one bit of words that follow each other, have the ranks of random ones."""
    count = min(len(words) // 64, 4096)
    pvalues = [rank_pvalue(ranks(words[: 64 * count].reshape(count, 64)))]
    for bit in (0, 8, 32, 40):
        picked = (words >> np.uint64(bit) & np.uint64(1)).astype(np.uint8)
        packed = np.packbits(picked[: len(picked) // 4096 * 4096]).view(np.uint64).reshape(-1, 64)
        if len(packed) >= 1000:
            pvalues.append(rank_pvalue(ranks(packed)))
    return least(np.array(pvalues))


def birthday_spacings(words: np.ndarray) -> float:
    """Equal distances among 4096 sorted 32-bit numbers: Poisson, with mean 4096**3 / 2**34 = 4."""
    pvalues = []
    for shift in (0, 32):
        numbers = (words >> np.uint64(shift) & np.uint64(0xFFFFFFFF)).astype(np.int64)
        years = np.sort(numbers[: len(numbers) // 4096 * 4096].reshape(-1, 4096), axis=1)
        gaps = np.sort(np.diff(years, axis=1), axis=1)
        same, mean = int((np.diff(gaps, axis=1) == 0).sum()), 4.0 * len(years)
        pvalues.append(2 * min(stats.poisson.cdf(same, mean), stats.poisson.sf(same - 1, mean), 0.5))
    return least(np.array(pvalues))


def collisions(words: np.ndarray) -> float:
    """Cells of 10 bits of both halves, the top ones and the lowest that reach a float, are hit alike."""
    pvalues = []
    for low, high in ((22, 54), (8, 40), (8, 54), (22, 40)):
        cells = (words >> np.uint64(low) & np.uint64(1023)) << np.uint64(10) | words >> np.uint64(high) & np.uint64(
            1023
        )
        counts = np.bincount(cells.astype(np.int64), minlength=1 << 20)
        mean = len(words) / 2**20
        # With few hits a cell the sum is normal, by its exact variance for multinomial counts.
        excess = ((counts - mean) ** 2).sum() / mean - (2**20 - 1)
        pvalues.append(2 * stats.norm.sf(abs(excess) / np.sqrt(2 * (2**20 - 1) * (1 - 1 / len(words)))))
    return least(np.array(pvalues))


def weights(words: np.ndarray) -> np.ndarray:
    """How many bits of each word are set, with mean 0 and variance 1."""
    return (np.bitwise_count(words).astype(np.float64) - 32) / 4


def hamming_weights(words: np.ndarray) -> float:
    """Words with many bits are as common as they should be, and do not follow each other."""
    found = weights(words)
    scale = np.sqrt(len(found))
    z = [found.sum() / scale, (found**2 - 1).sum() / np.sqrt(2 - 2 / 64) / scale]
    z += [found[lag:] @ found[:-lag] / scale for lag in (1, 2, 3, 255, 256, 257)]
    square = (found**2 - 1) / np.sqrt(2 - 2 / 64)
    z += [square[lag:] @ square[:-lag] / scale for lag in (1, 2, 256)]
    return of_normal(np.array(z))


def gaps(words: np.ndarray) -> float:
    """How long one value in sixteen stays away: geometric."""
    pvalues = []
    for shift in (28, 60, 8, 40):
        hits = np.flatnonzero((words >> np.uint64(shift) & np.uint64(15)) == 0)
        waits = np.minimum(np.diff(hits) - 1, 80)
        shares = np.append((15 / 16) ** np.arange(80) / 16, (15 / 16) ** 80)
        pvalues.append(stats.chisquare(np.bincount(waits, minlength=81), shares * len(waits)).pvalue)
    return least(np.array(pvalues))


def lagged_xor(words: np.ndarray) -> float:
    """A word and the one 2**k later, k = 0..20, differ in each bit half of the time, and in half of their bits."""
    z = []
    for lag in (1 << k for k in range(21) if 2 << k <= len(words)):
        differ = words[lag:][: 1 << 18] ^ words[:-lag][: 1 << 18]
        scale = np.sqrt(len(differ))
        z += [*(unpacked(differ).sum(0, dtype=np.float64) / scale), weights(differ).sum() / scale]
        z.append((weights(differ) ** 2 - 1).sum() / np.sqrt(2 - 2 / 64) / scale)
    return of_normal(np.array(z))


BATTERY: dict[str, Callable[[np.ndarray], float]] = {
    test.__name__: test
    for test in (bit_counts, bit_pairs, matrix_ranks, birthday_spacings, collisions, hamming_weights, gaps, lagged_xor)
}
