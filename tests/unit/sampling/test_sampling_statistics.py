"""The sampler against chance: values against their distributions, words against fair bits.

Keys are fixed. A correct sampler fails one p-value at ALPHA = 1e-6, were its keys chosen at random, with that
probability; the 350 p-values of this file together with less than 4e-4. `make statistics` is the long sweep.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from autoinit.sampling import sampler
from tests.statistics import values
from tests.statistics.bits import BATTERY, ranks
from tests.statistics.words import ORDERS, one_bit_apart, take

ALPHA = 1e-6


@pytest.mark.parametrize("order", ORDERS)
def test_words_are_fair_bits(order: str) -> None:
    words = take(order, 1 << 19)
    assert {name: p for name, test in BATTERY.items() if (p := test(words)) < ALPHA} == {}


@pytest.mark.parametrize("family", values.FAMILIES)
def test_values_have_the_moments_and_no_memory(family: str) -> None:
    sample, ideal = values.draw(family, 1 << 22), values.FAMILIES[family].ideal
    found = values.moments(sample, ideal) | values.lags(sample, ideal)
    assert {name: p for name, p in found.items() if p < ALPHA} == {}


@pytest.mark.parametrize("family", values.FAMILIES)
def test_values_have_the_shape(family: str) -> None:
    ordered = values.shares(values.draw(family, 1 << 22), family)
    # The limit distribution of Anderson and Darling's statistic is known to six digits: 1e-4 for these.
    assert values.kolmogorov_smirnov(ordered) > 1e-4
    assert values.anderson_darling(ordered) > 1e-4


def test_tails_are_as_heavy_as_they_should_be() -> None:
    assert min(values.tails(values.draw("normal", 1 << 22)).values()) > ALPHA


def test_parameters_are_uncorrelated() -> None:
    assert min(values.between(one_bit_apart(128), 1 << 15).values()) > ALPHA


# That these tests can fail


def only_the_affine_step(words: torch.Tensor) -> None:
    """A mixer that leaves what parameters owe to their common table."""


def test_words_of_a_crippled_mixer_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "finish", only_the_affine_step)
    words = take("across", 1 << 19)
    assert min(test(words) for test in BATTERY.values()) < ALPHA


def test_without_multipliers_of_their_own_parameters_are_correlated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "finish", only_the_affine_step)
    twin = [mixing_key(number) for number in range(8)]
    assert min(values.between(twin, 1 << 15).values()) < ALPHA


def mixing_key(number: int) -> sampler.Key:
    """Streams that differ in their summand alone."""
    return sampler.Key(number << 60, 1)


WRONG = {
    "bit_counts": lambda words, rng: words | (rng.random(len(words)) < 0.02).astype(np.uint64),
    "bit_pairs": lambda words, rng: words & ~np.uint64(1) | (words >> np.uint64(17) & np.uint64(1)),
    "matrix_ranks": lambda words, rng: words & ~np.uint64(1) | (words >> np.uint64(17) & np.uint64(1)),
    "birthday_spacings": lambda words, rng: words & ~np.uint64(1023),
    "collisions": lambda words, rng: np.where(rng.random(len(words)) < 0.5, words >> np.uint64(1), words),
    "hamming_weights": lambda words, rng: np.repeat(words[::2], 2),
    "gaps": lambda words, rng: np.where(rng.random(len(words)) < 0.02, np.roll(words, 1), words),
    "lagged_xor": lambda words, rng: np.tile(words[: 1 << 12], len(words) >> 12),
}


@pytest.mark.parametrize("name", BATTERY)
def test_each_test_of_words_can_fail(name: str) -> None:
    rng = np.random.default_rng(7)
    words = rng.integers(0, 2**64, 1 << 18, dtype=np.uint64)
    assert BATTERY[name](words) > ALPHA
    assert BATTERY[name](WRONG[name](words, rng)) < ALPHA


@pytest.mark.parametrize("family", values.FAMILIES)
def test_each_test_of_values_can_fail(family: str) -> None:
    ideal = values.FAMILIES[family].ideal
    right = ideal.rvs(1 << 22, random_state=3)
    for wrong in (right * 1.01, right + 0.01):
        assert min(values.moments(wrong, ideal).values()) < ALPHA
        ordered = values.shares(wrong, family)
        assert values.kolmogorov_smirnov(ordered) < 1e-3
        assert values.anderson_darling(ordered) < 1e-4
    assert min(values.lags(right + 0.02 * np.roll(right, 64), ideal).values()) < ALPHA
    assert min(values.tails(right * 1.05).values()) < ALPHA


def test_ranks_are_those_of_known_matrices() -> None:
    identity = np.uint64(1) << np.arange(64, dtype=np.uint64)
    twice = np.where(np.arange(64) == 5, identity[6], identity)
    found = ranks(np.stack([identity, twice, np.zeros(64, np.uint64), np.ones(64, np.uint64)]))
    assert found.tolist() == [64, 63, 0, 1]


def test_the_limit_of_anderson_and_darling_is_that_of_the_integral() -> None:
    # By inversion of the characteristic function of sum(chi2(1) / (j (j + 1))), independently of the series.
    shares = {1.0: 0.64273, 1.61: 0.84774, 1.933: 0.9, 2.492: 0.94998, 3.07: 0.97478, 6: 0.99903}
    for point, share in shares.items():
        assert values.anderson_darling_cdf(point) == pytest.approx(share, abs=5e-5)
    assert values.kolmogorov_smirnov(np.sort(stats.uniform.rvs(size=1000, random_state=1))) > 1e-3
