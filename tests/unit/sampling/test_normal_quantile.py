"""Normal values: bitwise what the definition says, close to mpmath, monotone, far-reaching, bounded or not."""

from __future__ import annotations

import decimal
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autoinit.sampling import NormalTransform, TailTransform, Transform, normal_quantile, truncated_normal
from autoinit.sampling.transforms import excess_of, log_of_rest
from autoinit.sampling.truncation import excess_between, float32, places_between, two_tails
from autoinit.sampling.version1 import in_version1
from tests import exact_values as exact
from tests.unit.sampling.test_sampling import TRANSFORMS, transformed

INF = math.inf
LEAST, MOST = -(2**31), 2**31 - 1
EDGES = [LEAST, LEAST + 1, LEAST + 2**20, -(2**24) - 1, -1, 0, 1, 2**24 + 1, MOST - 2**20, MOST - 1, MOST]
SPREAD = [LEAST, LEAST + 1, LEAST + 4096, -1, 0, MOST - 4095, MOST]
SPREAD += [int(x) for x in torch.linspace(-(2.0**31) * 0.999, 2.0**31 * 0.999, 25, dtype=torch.float64)]

# mean, std, low, high
CASES = """
    0 1 -2 2 | 0 0.02 -0.04 0.04 | 0 1 0 inf | 0 1 -inf 1 | 0 1 1.5 inf | 0 1 -3 -1 | 0.3 2 -1 0.5 | -3 0.5 -1 2 |
    5 0.1 0 4.9 | 5 0.1 5.05 5.06 | 0 1 0.1 0.1001 | 0 1 -0.001 0.002 | 0 1 -0.002 0.001 | 0 1 1 1.000001 |
    0 1 8 inf | 0 1 8 9 | 0 1 -inf -8 | 0 1 -8.001 -8 | 0 1 40 inf | 0 1 -41 -40 | 0 1 -40 40 | 0 1 -40 inf |
    0 1 -1 40 | 0 1 -100 100 | 0 1 100 inf | 0 1 -inf -100 | 0 1 -100 2 | 0 1 -inf inf | -100 0.01 0 inf
"""
TRUNCATED = [tuple(map(float, row.split())) for row in CASES.split("|")]

bits = st.lists(st.integers(LEAST, MOST) | st.sampled_from(EDGES), min_size=1, max_size=40)
numbers = st.floats(-40, 40, width=32) | st.just(INF)


def ulps(found: Tensor, right: np.ndarray) -> float:  # type: ignore[type-arg]
    """The largest error, in units in the last place of float32."""
    return float((np.abs(found.double().numpy() - right) / np.spacing(np.abs(right).astype(np.float32))).max())


@given(at=bits, mean=st.sampled_from([0.0, 0.3, -7.0]), std=st.floats(0.01, 10), low=numbers, width=numbers.map(abs))
def test_values_are_what_the_definition_says(at: list[int], mean: float, std: float, low: float, width: float) -> None:
    low, high = (-INF, low + width) if low == INF else (low, low + max(width, 1e-3))
    for transform in (truncated_normal(mean, std, low, high), NormalTransform(mean, std)):
        if isinstance(transform, NormalTransform):
            low, high = transform.low, transform.high
            values = exact.scaled(exact.standard(np.array(at), places_between(mean, std, low, high)), mean, std)
            assert np.array_equal(
                transformed(transform, at).numpy(), np.clip(values, np.float32(low), np.float32(high))
            )


def test_the_centre_is_within_four_units_in_the_last_place() -> None:
    places = torch.cat([torch.linspace(2.0**-20, 1 - normal_quantile.SEAM, 3000), torch.logspace(-33, -1, 500, 2)])
    found = places.clone()
    normal_quantile.central_(found)
    with mpmath.workdps(30):
        right = np.array([float(mpmath.sqrt(2) * mpmath.erfinv(mpmath.mpf(float(x)))) for x in places])
    assert ulps(found, right) < 4


def test_the_tail_is_within_four_units_in_the_last_place() -> None:
    rests = torch.cat([torch.linspace(2.0**-11, normal_quantile.SEAM, 1000), torch.logspace(-110, -5, 2000, 2)])
    found = normal_quantile.outer(rests).double()
    with mpmath.workdps(60):
        # One step of Newton's method from a value that is right to six digits.
        right = []
        for rest, z in zip(rests.tolist(), found.tolist(), strict=True):
            beyond, density = mpmath.erfc(z / mpmath.sqrt(2)), mpmath.npdf(z) * 2
            step = (beyond - rest) / density
            right.append(float(z + step + z * step**2 / 2))
    assert ulps(found, np.array(right)) < 4


@pytest.mark.parametrize(
    "transform",
    [
        *TRANSFORMS,
        *(
            truncated_normal(0.0, 1.0, *bounds)
            for bounds in [(-1, 3), (-3, 0.01), (0, INF), (1.5, INF), (-INF, -3), (2, 2.5), (8, INF)]
        ),
    ],
    ids=repr,
)
def test_values_rise_with_the_bits(transform: Transform) -> None:
    count = 30_000
    even = torch.linspace(LEAST, MOST, count, dtype=torch.float64)
    ends = torch.logspace(0, 31, count, 2, dtype=torch.float64)
    near = torch.arange(count / 10, dtype=torch.float64)
    seam = 2.0**31 * (1 - normal_quantile.SEAM) + torch.arange(-count / 2, count / 2, dtype=torch.float64)
    at = torch.cat(
        [even, LEAST + ends, MOST - ends, LEAST + near, MOST - near, seam, -seam, ends - 1, -ends, near, -near]
    )
    values = transformed(transform, at.clamp(LEAST, MOST).to(torch.int64).unique())
    assert values.diff().min() >= 0
    if transform == NormalTransform(0.0, 1.0):
        # Each of the outermost bits has a value of its own, as far as float32 tells them apart.
        assert values[0] < -6.3 and len(values[:256].unique()) == 256


def test_values_rise_where_a_tail_crosses_a_power_of_two() -> None:
    for exponent in range(-125, -4):
        above = torch.tensor(2.0**exponent)
        below = torch.nextafter(above, torch.tensor(0.0))
        found = normal_quantile.outer(torch.stack([above, below]))
        assert found[1] >= found[0], exponent


def test_the_seam_is_one_value_on_both_sides() -> None:
    places = torch.tensor([1 - normal_quantile.SEAM, 0.97])
    normal_quantile.central_(places)
    assert places.tolist() == [normal_quantile.AT_SEAM] * 2
    assert normal_quantile.outer(torch.tensor([normal_quantile.SEAM, 0.1])).tolist() == [normal_quantile.AT_SEAM] * 2


# Between bounds


def exact_share(value: float, mean: float, std: float, low: float, high: float) -> mpmath.mpf:
    """The probability that a truncated normal is at most `value`, to fifty digits wherever the bounds are."""
    with mpmath.workdps(50):
        z, alpha, beta = ((mpmath.mpf(x) - mpmath.mpf(mean)) / mpmath.mpf(std) for x in (value, low, high))
        z = min(max(z, alpha), beta)
        if alpha + beta > 0:  # From the side on which the probabilities are small.
            tails = [mpmath.erfc(x / mpmath.sqrt(2)) for x in (alpha, z, beta)]
            return (tails[0] - tails[1]) / (tails[0] - tails[2])
        tails = [mpmath.erfc(-x / mpmath.sqrt(2)) for x in (alpha, z, beta)]
        return (tails[1] - tails[0]) / (tails[2] - tails[0])


def far_from_the_quantile(transform: Transform, case: tuple[float, ...]) -> list[int]:
    """The bits whose value is further than rounding from the quantile that they stand for."""
    mean, std, low, high = case
    missed = []
    for word, value in zip(SPREAD, transformed(transform, SPREAD).tolist(), strict=True):
        share = (word + 2.0**31 + 0.5) * 2.0**-32
        unit = 2.0**-23 * max(abs(value), abs(value - mean))
        below, above = (exact_share(value + side * 2 * unit, mean, std, low, high) for side in (-1, 1))
        # `truncated_normal` promises 2**20 distinct values, so that a share is known to half a cell of those.
        if not low - unit <= value <= high + unit or not below - 2.0**-20 <= share <= above + 2.0**-20:
            missed.append(word)
    return missed


@pytest.mark.parametrize("case", TRUNCATED, ids=str)
def test_truncated_normals_are_the_inverse_cdf(case: tuple[float, ...]) -> None:
    assert far_from_the_quantile(truncated_normal(*case), case) == []


def test_the_comparison_with_the_inverse_cdf_can_fail() -> None:
    wrong = truncated_normal(0.0, 1.001, -2.0, 2.0)
    assert len(far_from_the_quantile(wrong, (0.0, 1.0, -2.0, 2.0))) > 20
    assert len(far_from_the_quantile(TailTransform(0.0, 1.0005, 8.0, 9.0), (0.0, 1.0, 8.0, 9.0))) > 20


@given(mean=st.floats(-10, 10), std=st.floats(0.01, 10), low=st.floats(-60, 60), width=st.floats(1e-6, 100))
def test_truncated_values_stay_within_bounds_and_rise(mean: float, std: float, low: float, width: float) -> None:
    found = transformed(truncated_normal(mean, std, low, low + width), sorted(SPREAD))
    assert float32(low) <= found.min() <= found.max() <= float32(low + width)
    assert found.diff().min() >= 0


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_both_versions_are_the_same_but_for_rounding(transform: Transform) -> None:
    # Version 1 has few digits where float32 is close to 1.
    at = torch.linspace(LEAST * 0.99, MOST * 0.99, 4000, dtype=torch.float64).to(torch.int64)
    torch.testing.assert_close(
        transformed(transform, at), transformed(in_version1(transform), at), rtol=3e-6, atol=1e-6
    )


@pytest.mark.parametrize("z", [-40.0, -3.0, 0.0, 0.5, 3.99, 4.0, 4.01, 9.0, 40.0, 1e6])
def test_tails_are_right_to_forty_digits(z: float) -> None:
    with decimal.localcontext(prec=50, Emin=-(10**17)), mpmath.workdps(60):
        found = two_tails(decimal.Decimal(z))
        right = mpmath.erfc(mpmath.mpf(z) / mpmath.sqrt(2))
        assert abs(mpmath.mpf(str(found)) / right - 1) < mpmath.mpf(10) ** -40


@pytest.mark.parametrize("bounds", [(8, 9), (9.5, INF), (40, INF), (100, 101), (1, 1.000001), (0.5, 0.52), (30, 30.3)])
def test_the_excess_over_a_bound_is_right_to_ten_digits(bounds: tuple[float, float]) -> None:
    low, high = bounds
    shares = torch.tensor([2.0**-33, 1e-6, 0.01, 0.3, 0.5, 0.9, 0.999, 1 - 2.0**-33], dtype=torch.float64)
    found = excess_of(shares, excess_between(0.0, 1.0, low, high))
    with mpmath.workdps(400):
        beyond = [mpmath.erfc(mpmath.mpf(z) / mpmath.sqrt(2)) if z < INF else 0 for z in (low, high)]
        for share, excess in zip(shares.tolist(), found.tolist(), strict=True):
            here = mpmath.erfc((mpmath.mpf(low) + excess) / mpmath.sqrt(2))
            assert float((beyond[0] - here) / (beyond[0] - beyond[1])) == pytest.approx(share, rel=1e-9, abs=1e-14)


@given(st.floats(0, 1, exclude_max=True))
def test_logarithms(share: float) -> None:
    assert float(log_of_rest(torch.tensor([share], dtype=torch.float64))) == pytest.approx(
        math.log(1 - share), rel=1e-12, abs=1e-15
    )
