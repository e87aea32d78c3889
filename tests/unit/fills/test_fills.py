"""Closed forms against scipy and mpmath, drawn values against closed forms, whole-tensor fills against torch.nn.init.

Statistical tests run on fixed seeds; the comment beside each gives the probability that correct values fail it for a
seed chosen at random.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import FrozenInstanceError

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from autoinit import ShapeError, fills, initialize
from autoinit.fans import torch_fans
from autoinit.fills import Constant, Custom, Dirac, Elementwise, Eye, Fill, Normal, Orthogonal
from autoinit.sampling import Key, Region, Sampler, derive_key
from tests.closed_form import pvalues
from tests.unit.sampling.test_normal_quantile import TRUNCATED, exact_share

CPU = torch.device("cpu")
INF = math.inf
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def keys_of(name: str, seed: int = 0) -> Callable[[int], Key]:
    return lambda stream: derive_key(seed, 0, name, stream)


def no_key(stream: int) -> Key:
    raise AssertionError("a fill that is not random asked for a key")


def written(fill: Fill, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32, name: str = "weight") -> Tensor:
    tensor = torch.full(shape, 7.0, dtype=dtype)
    fill.write(tensor, keys_of(name, seed), Sampler(CPU))
    return tensor


def halve_(tensor: Tensor) -> None:
    tensor.mul_(0.5)


FILLS = [
    Constant(1 / 3),
    fills.Uniform(-0.25, 0.5),
    Normal(0.0, 2**0.5),
    fills.TruncNormal(0.0, 1e-7, -INF, 2.0),
    Eye(),
    Dirac(2),
    Custom(halve_, {}),
    Custom(torch.nn.init.constant_, {"val": 0.1}),
    Orthogonal(1.5, 8, 6),
    fills.Sparse(0.25, 0.01, 8),
    fills.ComplexNormal(0.0, 1.0),
    fills.Padded(Normal(0.0, 0.02), (1, 3), 8),
    fills.Vector((0.0, -1.0, 0.5, 3.0, 4.0, 5.0, 6.0, 1 / 7)),
]


def empty_for(fill: Fill) -> Tensor:
    shape = {Dirac: (8, 6, 1), fills.Vector: (8,)}.get(type(fill), (8, 6))
    return torch.full(shape, 7.0, dtype=torch.complex64 if isinstance(fill, fills.ComplexNormal) else torch.float32)


every_fill = pytest.mark.parametrize("fill", FILLS, ids=str)


# What a fill is


@every_fill
def test_fills_are_values(fill: Fill) -> None:
    assert pickle.loads(pickle.dumps(fill)) == fill
    assert copy.deepcopy(fill) == fill
    assert [other for other in FILLS if other == fill] == [fill]
    with pytest.raises(FrozenInstanceError):
        setattr(fill, next(iter(fill.__dataclass_fields__), "anything"), 1)
    if fill in FILLS[:6]:
        assert eval(repr(fill), {**vars(fills), "inf": INF}) == fill


def test_cached_moments_are_no_part_of_a_fill() -> None:
    used, fresh = fills.TruncNormal(0.0, 1.0, 0.0, 1.0), fills.TruncNormal(0.0, 1.0, 0.0, 1.0)
    assert used.std > 0
    assert used == fresh and hash(used) == hash(fresh)
    assert repr(used) == repr(fresh) == "TruncNormal(loc=0.0, scale=1.0, low=0.0, high=1.0)"


def test_a_fill_prints_with_six_digits() -> None:
    assert [str(fill) for fill in FILLS] == [
        "Constant(value=0.333333)",
        "Uniform(low=-0.25, high=0.5)",
        "Normal(mean=0, std=1.41421)",
        "TruncNormal(loc=0, scale=1e-07, low=-inf, high=2)",
        "Eye()",
        "Dirac(groups=2)",
        "halve_()",
        "constant_(val=0.1)",
        "Orthogonal(gain=1.5)",
        "Sparse(sparsity=0.25, scale=0.01)",
        "ComplexNormal(mean=0, std=1)",
        "Normal(mean=0, std=0.02), rows 1, 3 zero",
        "Vector(0, -1, 0.5, 3, ... 8 values)",
    ]


def test_a_spec_counts_elements() -> None:
    assert [fills.TensorSpec(shape=shape).numel for shape in ((2, 3, 4), (), (2, 0))] == [24, 1, 0]
    assert fills.TensorSpec(shape=(2, 3), fans=torch_fans((2, 3))) == fills.TensorSpec(
        shape=(2, 3), fans=torch_fans((2, 3))
    )


# Closed forms


def exact_moments(loc: float, scale: float, low: float, high: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Mean and standard deviation of a truncated normal by the textbook's formulas, with fifty digits."""
    with mpmath.workdps(50):
        alpha, beta = ((mpmath.mpf(x) - mpmath.mpf(loc)) / mpmath.mpf(scale) for x in (low, high))
        if alpha + beta > 0:
            mean, std = exact_moments(-loc, scale, -high, -low)
            return -mean, std
        mass = (mpmath.erfc(-beta / mpmath.sqrt(2)) - mpmath.erfc(-alpha / mpmath.sqrt(2))) / 2
        (at_low, low_moment), (at_high, high_moment) = (
            (mpmath.npdf(x), x * mpmath.npdf(x)) if mpmath.isfinite(x) else (0, 0) for x in (alpha, beta)
        )
        mean = (at_low - at_high) / mass
        variance = 1 + (low_moment - high_moment) / mass - mean**2
        return mpmath.mpf(loc) + scale * mean, scale * mpmath.sqrt(variance)


@pytest.mark.parametrize("case", TRUNCATED, ids=str)
def test_moments_and_cdf_of_truncated_normals(case: tuple[float, ...]) -> None:
    loc, scale, low, high = map(float, case)
    mean, std = exact_moments(*case)
    fill = fills.TruncNormal(loc, scale, low, high)
    assert abs(fill.mean - mean) < 1e-8 * std
    assert abs(fill.std / std - 1) < 1e-9
    x = fill.mean + fill.std * torch.linspace(-3, 3, 61, dtype=torch.float64)
    expected = torch.tensor([float(exact_share(float(value), *case)) for value in x], dtype=torch.float64)
    # The narrowest interval here has 1e-6 of a standard deviation: its CDF keeps nine of sixteen digits. Ten
    # thousand standard deviations out it keeps eight.
    precision = 1e-9 if abs(low - loc) < 1000 * scale or low == -INF else 2e-8
    torch.testing.assert_close(fill.cdf(x), expected, atol=precision, rtol=1e-9)


def test_a_cdf_is_precise_in_both_tails() -> None:
    x = torch.tensor([-30.0, -10.0, -5.0], dtype=torch.float64)
    expected = torch.from_numpy(stats.norm.cdf(x.numpy()))
    torch.testing.assert_close(fills.TruncNormal(0.0, 1.0, -INF, 40.0).cdf(x), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("fill", "ideal"),
    [
        (fills.Uniform(-0.5, 2.0), stats.uniform(-0.5, 2.5)),
        (fills.Uniform(1e-3, 1.1e-3), stats.uniform(1e-3, 1e-4)),
        (Normal(0.3, 0.02), stats.norm(0.3, 0.02)),
        (Normal(-5.0, 100.0), stats.norm(-5, 100)),
    ],
    ids=lambda value: str(value) if isinstance(value, Fill) else "",
)
def test_uniform_and_normal(fill: Elementwise, ideal: stats.rv_continuous) -> None:
    assert fill.mean == pytest.approx(ideal.mean(), rel=1e-14)
    assert fill.std == pytest.approx(ideal.std(), rel=1e-14)
    x = torch.linspace(ideal.ppf(1e-9) - fill.std, ideal.ppf(1 - 1e-9) + fill.std, 201, dtype=torch.float64)
    torch.testing.assert_close(fill.cdf(x), torch.from_numpy(ideal.cdf(x.numpy())), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_constant(dtype: torch.dtype) -> None:
    fill, tensor = Constant(-0.1), torch.full((3, 4), 7.0, dtype=dtype)
    fill.write(tensor, no_key, Sampler(CPU))
    assert torch.equal(tensor, torch.full((3, 4), -0.1, dtype=dtype))
    assert (fill.mean, fill.std) == (-0.1, 0.0)
    assert fill.cdf(torch.tensor([-INF, -0.11, -0.1, 0.0, INF], dtype=torch.float64)).tolist() == [0, 0, 1, 1, 1]


@st.composite
def elementwise(take) -> Elementwise | Constant:
    loc, scale = take(st.floats(-100, 100)), take(st.floats(1e-3, 100))
    low = loc + scale * take(st.floats(-60, 60))
    high = low + scale * take(st.floats(1e-4, 60))
    truncated = [
        fills.TruncNormal(loc, scale, low, high),
        fills.TruncNormal(loc, scale, low, INF),
        fills.TruncNormal(loc, scale, -INF, high),
    ]
    return take(st.sampled_from([fills.Uniform(low, high), Normal(loc, scale), Constant(loc), *truncated]))


@given(fill=elementwise())
def test_a_cdf_rises_from_zero_to_one(fill: Elementwise) -> None:
    low, high = getattr(fill, "low", -INF), getattr(fill, "high", INF)
    assert low <= fill.mean <= high and 0 <= fill.std <= (high - low) / 2
    x = fill.mean + fill.std * torch.linspace(-8, 8, 400, dtype=torch.float64)
    probabilities = fill.cdf(torch.cat([torch.tensor([-INF]), x, torch.tensor([INF])]))
    assert probabilities.dtype == torch.float64
    assert probabilities[0] == 0 and probabilities[-1] == 1
    # Log-probabilities of 60 standard deviations have 1e-13 of rounding in them.
    assert probabilities.diff().min() >= -1e-11
    assert fill.cdf(x.float().view(20, 20)).shape == (20, 20)


# Drawn values


@pytest.mark.parametrize(
    "fill",
    [
        fills.Uniform(-0.25, 0.5),
        Normal(0.1, 0.02),
        fills.TruncNormal(0.0, 0.02, -0.04, 0.04),
        fills.TruncNormal(0.0, 1.0, 0.0, INF),
        fills.TruncNormal(0.0, 1.0, 1.5, INF),
        fills.TruncNormal(5.0, 0.1, 0.0, 4.9),
        fills.TruncNormal(0.0, 1.0, 8.0, INF),
        fills.TruncNormal(0.0, 1.0, -41.0, -40.0),
        fills.TruncNormal(0.0, 1.0, 0.1, 0.11),
        fills.TruncNormal(2.0, 0.5, 3.5, 3.8),
    ],
    ids=str,
)
def test_drawn_values_are_of_the_distribution(fill: Elementwise) -> None:
    # Ten cases of four tests at 2e-5: some fails with probability 8e-4.
    found = pvalues(written(fill, 300, 500), fill)
    assert found.keys() == {"mean", "variance", "shape", "range"}
    assert min(found.values()) > 2e-5, found


@pytest.mark.parametrize("fill", FILLS[1:4], ids=str)
def test_values_depend_on_seed_name_and_index_alone(fill: Fill) -> None:
    one = written(fill, 30, 40)
    assert torch.equal(one.flatten(), written(fill, 1200))
    assert torch.equal(one[:10], written(fill, 10, 40))
    assert not torch.equal(one, written(fill, 30, 40, seed=1))
    assert not torch.equal(one, written(fill, 30, 40, name="bias"))


@every_fill
def test_random_fills_ask_for_keys_and_the_default_device_changes_nothing(fill: Fill) -> None:
    asked, expected, tensor = [], empty_for(fill), empty_for(fill)

    def key_of(stream: int) -> Key:
        asked.append(stream)
        return derive_key(0, 0, "weight", stream)

    fill.write(expected, key_of, Sampler(CPU))
    assert bool(asked) == fill.is_random
    assert asked == sorted(set(asked))
    with torch.device("meta"):
        fill.write(tensor, keys_of("weight"), Sampler(CPU))
        if isinstance(fill, Elementwise):
            assert fill.cdf(tensor).device == CPU
            assert not math.isnan(fill.std)
    assert torch.equal(tensor, expected)


@every_fill
def test_a_region_gets_what_the_whole_has_there(fill: Fill) -> None:
    whole = empty_for(fill)
    region = Region.of_ranges(whole.shape, [[range(1, 3), range(4, 5)], [range(2, 6)], [range(1)]][: whole.dim()])
    part = region.select(whole)
    fill.write(whole, keys_of("w"), Sampler(CPU))
    fill.write_region(part, region, keys_of("w"), Sampler(CPU))
    assert torch.equal(part, region.select(whole))


# Orthogonal


def orthogonal(*shape: int, gain: float = 1.0) -> Orthogonal:
    return Orthogonal(gain, shape[0], math.prod(shape[1:]))


@given(shape=st.lists(st.integers(1, 7), min_size=2, max_size=4), gain=st.floats(-3, 3), seed=st.integers(0, 1000))
def test_rows_or_columns_are_orthonormal_times_the_gain(shape: list[int], gain: float, seed: int) -> None:
    fill = orthogonal(*shape, gain=gain)
    matrix = written(fill, *shape, seed=seed).flatten(1).double()
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(gram, gain**2 * torch.eye(len(gram), dtype=torch.float64), atol=3e-5, rtol=0)
    assert float(matrix.square().mean().sqrt()) == pytest.approx(fill.std, abs=1e-5)
    assert fill.mean == 0


@pytest.mark.parametrize("shape", [(3, 3), (2, 3), (3, 2)], ids=str)
def test_orthogonal_is_haar_distributed(shape: tuple[int, int]) -> None:
    matrices = torch.stack([written(orthogonal(*shape), *shape, seed=seed) for seed in range(800)]).double()
    # In three dimensions each element is uniform on [-1, 1]. Nine tests at 1e-5 fail with probability 9e-5 each
    # way; without the sign of R's diagonal the diagonal elements are all of one sign.
    columns = matrices.flatten(1).T.numpy()
    assert min(stats.kstest(column, stats.uniform(-1, 2).cdf).pvalue for column in columns) > 1e-5
    if shape == (3, 3):
        # Both determinants are as probable; the trace has mean 0 and mean square 1. Beyond 4.5 sigma: 7e-6 each.
        assert abs(torch.linalg.det(matrices).sign().sum()) < 4.5 * math.sqrt(800)
        trace = matrices.diagonal(dim1=1, dim2=2).sum(1)
        assert abs(trace.mean()) < 4.5 / math.sqrt(800)
        assert abs(trace.square().mean() - 1) < 4.5 * float(trace.square().std()) / math.sqrt(800)


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != torch.float64], ids=str)
def test_orthogonal_is_computed_in_float32_and_rounded_once_into_any_layout(dtype: torch.dtype) -> None:
    fill, strided = orthogonal(6, 5, 2, gain=1.5), torch.zeros(2, 5, 12, dtype=dtype).permute(2, 1, 0)[::2]
    fill.write(strided, keys_of("weight"), Sampler(CPU))
    assert torch.equal(strided, written(fill, 6, 5, 2).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_orthogonal_in_double_precision_is_orthogonal_in_double_precision(dtype: torch.dtype) -> None:
    matrix = written(orthogonal(64, 64), 64, 64, dtype=dtype)
    assert (matrix @ matrix.mH - torch.eye(64)).abs().max() < 4e-15
    single = torch.complex64 if dtype.is_complex else torch.float32
    torch.testing.assert_close(matrix.to(single), written(orthogonal(64, 64), 64, 64, dtype=single), rtol=0, atol=1e-4)


# Dirac, Eye


@given(
    groups=st.integers(1, 3),
    out=st.integers(1, 4),
    into=st.integers(1, 5),
    kernel=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    dtype=st.sampled_from(DTYPES),
)
def test_dirac_is_that_of_torch(groups: int, out: int, into: int, kernel: list[int], dtype: torch.dtype) -> None:
    shape = (groups * out, into, *kernel)
    expected = torch.nn.init.dirac_(torch.empty(shape, dtype=dtype), groups)
    assert torch.equal(written(Dirac(groups), *shape, dtype=dtype), expected)


@given(rows=st.integers(0, 6), columns=st.integers(0, 6), dtype=st.sampled_from(DTYPES))
def test_eye_is_that_of_torch(rows: int, columns: int, dtype: torch.dtype) -> None:
    assert torch.equal(written(Eye(), rows, columns, dtype=dtype), torch.eye(rows, columns, dtype=dtype))


# Sparse


@given(sparsity=st.floats(0, 1), rows=st.integers(1, 30), columns=st.integers(1, 10), dtype=st.sampled_from(DTYPES))
def test_each_column_has_exactly_its_zeros(sparsity: float, rows: int, columns: int, dtype: torch.dtype) -> None:
    fill = fills.Sparse(sparsity, 1.0, rows)
    zeros = (written(fill, rows, columns, dtype=dtype) == 0).sum(0).tolist()
    theirs = torch.nn.init.sparse_(torch.empty(rows, columns), sparsity, generator=torch.Generator().manual_seed(1))
    assert zeros == (theirs == 0).sum(0).tolist() == [fill.zeros_per_column] * columns


def test_sparse_is_normal_elsewhere_and_its_zeros_are_anywhere() -> None:
    fill = fills.Sparse(0.25, 0.5, 40)
    values = written(fill, 40, 3000)
    where = values == 0
    assert len({tuple(column.tolist()) for column in where.T}) > 2990
    # Each row has 750 of the zeros in expectation; 40 rows, chi-square with 39 degrees of freedom (the rows of a
    # column exclude each other, which makes the statistic smaller by 3/4). The two tests at 1e-5 each.
    statistic = float(((where.sum(1) - 750.0) ** 2 / (750 * 0.75)).sum() * 39 / 40)
    assert stats.chi2.sf(statistic, 39) > 1e-5
    assert stats.kstest(values[~where].numpy(), stats.norm(0, 0.5).cdf).pvalue > 1e-5
    assert float(values.std(correction=0)) == pytest.approx(fill.std, rel=0.02)
    assert fill.std == pytest.approx(0.5 * math.sqrt(0.75))


def test_sparse_of_nothing() -> None:
    assert written(fills.Sparse(0.5, 1.0, 0), 0, 3).shape == (0, 3)
    assert fills.Sparse(0.5, 1.0, 0).std == 0


# Custom


def test_a_function_sees_generators_seeded_from_the_key() -> None:
    fill = Custom(torch.nn.init.normal_, {"std": 0.5})
    torch.manual_seed(1)
    first = written(fill, 5, 5)
    torch.manual_seed(2)
    assert torch.equal(written(fill, 5, 5), first)
    assert not torch.equal(written(fill, 5, 5, name="other"), first)
    generator = torch.Generator().manual_seed(derive_key(0, 0, "weight").offset >> 1)
    assert torch.equal(first, torch.nn.init.normal_(torch.empty(5, 5), std=0.5, generator=generator))


def test_a_function_leaves_no_trace_in_global_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch.manual_seed would seed accelerators as well, now or when they are first used.
    for module in (torch.cuda, torch.mps, torch.xpu):
        for name in ("manual_seed", "manual_seed_all"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda seed: pytest.fail("an accelerator was seeded"))
    torch.default_generator.manual_seed(5)
    before, of_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    written(Custom(torch.nn.init.normal_, {}), 5, 5)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], of_numpy)


def test_a_function_gets_the_tensor_itself() -> None:
    tensor, seen = torch.full((2, 3), 4.0).t(), []
    Custom(lambda given: seen.append(given) or halve_(given), {}).write(tensor, keys_of("w"), Sampler(CPU))
    assert seen[0] is tensor
    assert seen[0].stride() == tensor.stride()
    assert tensor.tolist() == [[2.0, 2.0]] * 3


def fails_half_way(tensor: Tensor) -> None:
    tensor[0] = torch.randn(3)
    raise KeyError("size")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, 0.0),
        (torch.full((2, 3), 3.0), 3.0),
        (torch.full((2, 3), 3.0, dtype=torch.float64), 3.0),
        (torch.ones(5, 7), 0.0),
    ],
    ids=["fails", "assigns to data", "of another dtype", "of another shape"],
)
def test_a_function_leaves_memory_dtype_and_generators_and_values_if_it_fails(
    data: Tensor | None, expected: float
) -> None:
    function = fails_half_way if data is None else lambda tensor: setattr(tensor, "data", data)
    tensor, state = nn.Parameter(torch.zeros(2, 3)), torch.get_rng_state()
    place = tensor.data_ptr()
    with torch.no_grad(), nullcontext() if expected else pytest.raises((KeyError, RuntimeError), match="size"):
        Custom(function, {}).write(tensor, keys_of("w"), Sampler(CPU))
    assert tensor.data_ptr() == place and tensor.dtype == torch.float32
    assert tensor.tolist() == [[expected] * 3] * 2 and torch.equal(torch.get_rng_state(), state)


# Vector


@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9),
    dtype=st.sampled_from([torch.float64, torch.bfloat16]),
)
def test_values_one_by_one(values: list[float], dtype: torch.dtype) -> None:
    fill = fills.Vector(tuple(values))
    assert torch.equal(written(fill, len(values), dtype=dtype), torch.tensor(values, dtype=torch.float64).to(dtype))
    assert (fill.mean, fill.std) == pytest.approx((np.mean(values), np.std(values)), rel=1e-9, abs=1e-9)
    points = torch.tensor([*values, 0.5], dtype=torch.float64)
    assert fill.cdf(points).tolist() == [sum(value <= x for value in values) / len(values) for x in points.tolist()]
    assert fill.scaled(-2).values == tuple(-2 * value for value in values)


def test_a_value_beyond_the_dtype() -> None:
    layer = nn.Linear(2, 2, dtype=torch.float16)
    with pytest.raises(ShapeError, match="reaches 70000, and the largest float16 is 65504"):
        initialize(layer, dict(type="Constant", val=[0, 7e4], layer="Linear", params="bias"))
