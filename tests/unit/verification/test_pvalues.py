"""The tests behind `verify`: their p-values are those of exact distributions, and uniform where all is right."""

from __future__ import annotations

import math
from collections import defaultdict
from fractions import Fraction

import pytest
import torch
from scipy import stats

from autoinit.fills import Elementwise, Normal, TruncNormal, Uniform
from autoinit.sampling import Sampler, derive_key
from autoinit.verification.fill_tests import elementwise
from autoinit.verification.pvalues import of_direction, of_mean
from autoinit.verification.repeated_values import HEAD, Head, copies, repeats
from autoinit.verification.rounded import rounded
from autoinit.verification.summary import spread_sample, summarize
from autoinit.verification.verdict import Finding, rejected

FILLS = (Normal(0.0, 0.02), Uniform(-1.0, 2.0), TruncNormal(0.0, 1.0, -2.0, 2.0), TruncNormal(0.0, 1.0, 1.0, 9.0))
HALF = (torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)


def drawn(fill: Elementwise, shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    out = torch.empty(shape, dtype=dtype)
    fill.write(out, lambda stream: derive_key(seed, 0, "weight", stream), Sampler(torch.device("cpu")))
    return out


def irwin_hall(x: Fraction, n: int) -> float:
    """P(the sum of n uniform values > x), exactly."""
    y = n - x
    return float(sum((-1) ** k * math.comb(n, k) * (y - k) ** n for k in range(int(y) + 1)) / math.factorial(n))


@pytest.mark.parametrize("count", [8, 32, 64])
@pytest.mark.parametrize("z", [0.05, 0.2, 1.0, 2.0, 3.0, 4.0])
def test_the_saddlepoint_agrees_with_sums_of_uniform_values(count: int, z: float) -> None:
    law, mean = rounded(Uniform(0.0, 1.0), torch.float32), z / math.sqrt(count)
    exact = 2 * irwin_hall(Fraction(0.5 + mean / math.sqrt(12)) * count, count)
    for side in (-1, 1):
        found = of_mean(side * mean, count, law.nodes, law.weights)
        assert found == pytest.approx(exact, rel=0.02 if count == 8 else 1e-3)


@pytest.mark.parametrize("count", [8, 32, 100, 1000])
@pytest.mark.parametrize("fill", [Normal(0.0, 1.0), TruncNormal(0.0, 0.02, -2.0, 2.0)], ids=str)
def test_the_saddlepoint_agrees_with_chi_square(count: int, fill: Elementwise) -> None:
    law = rounded(fill, torch.float32)
    squares, order = law.nodes.square().sort()
    weights = law.weights[order]
    for share in (1e-10, 1e-6, 1e-3, 0.1, 0.4):
        for quantile in (stats.chi2.isf, stats.chi2.ppf):
            mean = quantile(share, count) / count
            assert of_mean(mean, count, squares, weights) == pytest.approx(2 * share, rel=0.04)
    # Around the center, where another formula is used.
    for z in (-0.03, -0.021, -0.019, -0.001, 0.0, 0.001, 0.019, 0.021, 0.03) if count in (8, 100) else ():
        mean = 1 + z * math.sqrt(2 / count)
        tail = stats.chi2.sf(mean * count, count)
        assert of_mean(mean, count, squares, weights) == pytest.approx(2 * min(tail, 1 - tail), rel=2e-3)


def test_the_saddlepoint_at_the_ends() -> None:
    coin = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert of_mean(1.0, 10, *coin) == pytest.approx(2.0**-10)
    assert of_mean(1.1, 10, *coin) == 0.0
    sure = torch.tensor([3.0], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    assert of_mean(3.0, 10, *sure) == 1.0


@pytest.mark.parametrize("fill", FILLS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
def test_rounded_distributions_have_the_moments_and_shares_of_draws(fill: Elementwise, dtype: torch.dtype) -> None:
    # Five standard errors each, of 100 comparisons: one is farther out with a probability of 6e-5; the seed is fixed.
    law, count = rounded(fill, dtype), 200_000
    values = drawn(fill, (count,), 1, dtype).double()
    assert abs(float(values.mean()) - law.mean) < 5 * law.std / math.sqrt(count)
    assert abs(float(values.std()) / law.std - 1) < 5 * math.sqrt((law.kurtosis - 1) / count) / 2
    for share in (0.1, 0.5, 0.9):
        at = values.quantile(share).reshape(1)
        below, up_to = law.around(at)
        for found, expected in ((values <= at, up_to), (values < at, below)):
            assert abs(float(found.double().mean()) - float(expected)) < 5 / math.sqrt(4 * count)


@pytest.mark.parametrize("fill", FILLS, ids=str)
@pytest.mark.parametrize("count", [8, 50, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_pvalues_of_right_values_are_uniform(fill: Elementwise, count: int, dtype: torch.dtype) -> None:
    # Kolmogorov and Smirnov at 1e-5, over 96 samples: 1e-3 by chance; the seeds are fixed.
    found = defaultdict(list)
    for seed in range(300):
        for finding in elementwise(drawn(fill, (count,), seed, dtype), fill):
            found[finding.test].append(finding.pvalue)
    assert set(found) == {"mean", "variance", "shape", "range"}
    for test, pvalues in found.items():
        # After rounding, shape and range are rarer than they have to be.
        conservative = test in ("shape", "range")
        assert stats.kstest(pvalues, "uniform", alternative="greater" if conservative else "two-sided").pvalue > 1e-5


@pytest.mark.parametrize("test", ["mean", "variance", "shape", "range"])
def test_each_test_has_something_that_it_alone_finds(test: str) -> None:
    fill, values = Normal(0.0, 1.0), drawn(Normal(0.0, 1.0), (100_000,), 3)
    spoiled = {
        "mean": values + 0.03,
        "variance": values * 1.015,
        "shape": torch.where(values.abs() > 0.6745, values, values.sign() * 0.39),
        "range": torch.cat([values[1:], torch.tensor([9.0])]),
    }[test]
    small = {finding.test for finding in elementwise(spoiled, fill) if finding.pvalue < 1e-6}
    assert test in small
    assert small <= {test, "shape", "variance"}


def outcomes(*pvalues: float, weight: float = 1.0) -> list[Finding]:
    return [Finding(test="mean", pvalue=pvalue, weight=weight) for pvalue in pvalues]


def test_holm_keeps_its_rate_and_orders_by_pvalue() -> None:
    assert rejected([], 0.05) == -1.0
    assert rejected(outcomes(0.04), 0.05) == 0.04
    assert rejected(outcomes(0.04, 0.04), 0.05) == -1.0
    assert rejected(outcomes(0.01, 0.04), 0.05) == 0.04
    assert rejected([*outcomes(0.03, weight=3.0), *outcomes(0.04)], 0.05) == 0.04
    assert rejected([*outcomes(0.03), *outcomes(0.04, weight=3.0)], 0.05) == -1.0
    torch.manual_seed(0)
    # 3,000 families of 20 at 0.05: 150 are expected, and 187 are exceeded with a probability of 1e-3.
    for heavy in (1.0, 3.0):
        rows = torch.rand(3000, 20, dtype=torch.float64).tolist()
        families = ([*outcomes(*row[:5], weight=heavy), *outcomes(*row[5:])] for row in rows)
        assert 113 < sum(rejected(family, 0.05) >= 0 for family in families) < 187


def test_a_random_direction_has_its_distribution() -> None:
    torch.manual_seed(0)
    for dimensions in (2, 3, 50):
        cosines = torch.nn.functional.normalize(torch.randn(500, dimensions, dtype=torch.float64))[:, 0].tolist()
        assert stats.kstest([of_direction(cosine, dimensions) for cosine in cosines], "uniform").pvalue > 1e-3


def test_correlations_of_independent_parameters_are_uniform() -> None:
    pvalues = []
    for seed in range(60):
        rows = drawn(Normal(0.0, 1.0), (8, HEAD), seed).double()
        heads = {str(at): Head(values=row, bits=20.0, numel=HEAD) for at, row in enumerate(rows)}
        pvalues += [finding.pvalue for fqn, finding in copies(heads) if fqn == "1"]
    assert stats.kstest(pvalues, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("shape", [(64, 48), (8, 6, 5, 5), (4, 300)])
@pytest.mark.parametrize("turned", [False, True])
def test_repeats_are_found_along_every_axis_and_nowhere_else(shape: tuple[int, ...], turned: bool) -> None:
    values = drawn(Normal(0.0, 1.0), shape, 5)
    values = values.movedim(0, -1) if turned else values
    assert not list(repeats(values, 20.0))
    for axis, size in enumerate(values.shape):
        copy = values.clone()
        copy.select(axis, size - 1).copy_(copy.select(axis, 1))
        [finding] = repeats(copy, 20.0)
        assert finding.text == f"1 of {size} slices along axis {axis} repeat an earlier one: {size - 1} is a copy of 1"
        copy.select(axis, 2).fill_(0.5)
        assert f"1 of {size} slices along axis {axis} have one value only: 2" in {
            finding.text for finding in repeats(copy, 20.0)
        }


def test_slices_that_agree_at_the_probes_alone_are_not_copies() -> None:
    values = drawn(Normal(0.0, 1.0), (4, 6400), 5)
    values[2, ::201] = values[1, ::201]
    assert not list(repeats(values, 20.0))


@pytest.mark.parametrize("piece", [1, 7, 1 << 17])
def test_a_scan_is_the_same_in_pieces_of_any_size(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoinit.verification.summary.PIECE", piece)
    values = drawn(Normal(1.0, 2.0), (5, 3, 7), 1).transpose(0, 2)
    values[1, 1, 1] = 1e-41
    found = summarize(values, 1.0, 2.0)
    z = (values.double() - 1) / 2
    assert (found.count, found.low, found.high) == (105, float(values.min()), float(values.max()))
    assert (found.first, found.second) == pytest.approx((float(z.sum()), float(z.square().sum())))
    assert (found.nonfinite, found.subnormal) == (0, 1)
    values[2, 2, 2], values[0, 0, 0] = math.inf, math.nan
    assert summarize(values).nonfinite == 2


def test_a_sample_comes_from_all_over_a_tensor_of_any_strides() -> None:
    values = torch.arange(1000).reshape(10, 100)
    assert spread_sample(values, 100).tolist() == list(range(0, 1000, 11))
    assert spread_sample(values.t(), 100).tolist() == values.t().flatten()[::11].tolist()
    assert spread_sample(values, 1000).tolist() == list(range(1000))
