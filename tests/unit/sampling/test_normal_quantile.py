"""The normal quantile: bitwise what the definition says, close to mpmath, monotone, and reaching far."""

from __future__ import annotations

import math
from functools import cache

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autoinit.sampling import NormalTransform, TruncNormalTransform, normal_quantile, truncated_normal
from autoinit.sampling.normal_transforms import log_of_rest
from autoinit.sampling.truncation import excess_between, places_between, two_tails
from tests import exact_values as exact

INF = math.inf
EDGES = [
    -(2**31),
    -(2**31) + 1,
    -(2**31) + 2**20,
    -(2**24) - 1,
    -1,
    0,
    1,
    2**24 + 1,
    2**31 - 2**20,
    2**31 - 2,
    2**31 - 1,
]

bits = st.lists(st.integers(-(2**31), 2**31 - 1) | st.sampled_from(EDGES), min_size=1, max_size=40)
numbers = st.floats(-40, 40, width=32) | st.just(INF)


def spread(count: int) -> Tensor:
    """Bits all over their range, more of them towards both ends and towards the seams."""
    even = torch.linspace(-(2.0**31), 2.0**31 - 1, count, dtype=torch.float64)
    ends = torch.logspace(0, 31, count, 2, dtype=torch.float64)
    seam = 2.0**31 * (1 - normal_quantile.SEAM) + torch.arange(-count / 2, count / 2, dtype=torch.float64)
    all_of = torch.cat([even, ends - 2.0**31, 2.0**31 - 1 - ends, seam, -seam, ends - 1, -ends])
    return all_of.clamp(-(2.0**31), 2.0**31 - 1).to(torch.int64).unique().to(torch.int32)


def drawn(transform: NormalTransform | TruncNormalTransform, at: Tensor) -> Tensor:
    out = torch.empty(len(at))
    transform(at, out)
    return out


@cache
def tail(log2: float) -> float:
    """Minus the standard normal quantile of half of 2**log2."""
    with mpmath.workdps(30):
        return float(mpmath.sqrt(2) * mpmath.erfinv(1 - mpmath.mpf(2) ** log2)) if log2 > -60 else 0.0


def ulps(found: Tensor, right: np.ndarray) -> float:  # type: ignore[type-arg]
    """The largest error, in units in the last place of float32."""
    return float((np.abs(found.double().numpy() - right) / np.spacing(np.abs(right).astype(np.float32))).max())


@given(at=bits)
def test_the_normal_is_what_the_definition_says(at: list[int]) -> None:
    found = drawn(NormalTransform(0.5, 0.02), torch.tensor(at, dtype=torch.int32)).numpy()
    places = places_between(0.0, 1.0, -INF, INF)
    assert np.array_equal(found, exact.scaled(exact.standard(np.array(at), places), 0.5, 0.02))


@given(at=bits, mean=st.sampled_from([0.0, 0.3, -7.0]), std=st.floats(0.01, 10), low=numbers, width=numbers.map(abs))
def test_truncated_normals_are_what_the_definition_says(
    at: list[int], mean: float, std: float, low: float, width: float
) -> None:
    low, high = (-INF, low + width) if low == INF else (low, low + max(width, 1e-3))
    transform = truncated_normal(mean, std, low, high)
    if isinstance(transform, TruncNormalTransform):
        found = drawn(transform, torch.tensor(at, dtype=torch.int32)).numpy()
        values = exact.scaled(exact.standard(np.array(at), places_between(mean, std, low, high)), mean, std)
        assert np.array_equal(found, np.clip(values, np.float32(low), np.float32(high)))


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
    "bounds", [(-INF, INF), (-2, 2), (-1, 3), (-3, 0.01), (0, INF), (1.5, INF), (-INF, -3), (2, 2.5), (8, INF)], ids=str
)
def test_values_rise_with_the_bits(bounds: tuple[float, float]) -> None:
    transform = truncated_normal(0.0, 1.0, *bounds)
    at = spread(30_000)
    assert isinstance(transform, TruncNormalTransform)
    assert drawn(transform, at).diff().min() >= 0


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


def test_normal_values_reach_six_standard_deviations_without_lumps() -> None:
    ends = torch.arange(-(2**31), -(2**31) + 4096, dtype=torch.int64).to(torch.int32)
    values = drawn(NormalTransform(0.0, 1.0), ends)
    assert values[0] < -6.3
    # Each of the outermost bits has a value of its own, as far as float32 tells them apart.
    assert len(values[:256].unique()) == 256


@pytest.mark.parametrize("z", [-40.0, -3.0, 0.0, 0.5, 3.99, 4.0, 4.01, 9.0, 40.0, 1e6])
def test_tails_are_right_to_forty_digits(z: float) -> None:
    import decimal

    with decimal.localcontext(prec=50, Emin=-(10**17)), mpmath.workdps(60):
        found = two_tails(decimal.Decimal(z))
        right = mpmath.erfc(mpmath.mpf(z) / mpmath.sqrt(2))
        assert abs(mpmath.mpf(str(found)) / right - 1) < mpmath.mpf(10) ** -40


@pytest.mark.parametrize("bounds", [(8, 9), (9.5, INF), (40, INF), (100, 101), (1, 1.000001), (0.5, 0.52), (30, 30.3)])
def test_the_excess_over_a_bound_is_right_to_ten_digits(bounds: tuple[float, float]) -> None:
    from autoinit.sampling.normal_transforms import excess_of

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
