"""The numbers that are kept of a tensor, and the bounds of a signal."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoinit import Bounds, ConfigError, ConfigTypeError, propagate
from autoinit.propagation.measures import Moments, any_varies, dead_units, moments, unit_axis

VALUES = st.lists(st.floats(-1e3, 1e3, width=32), max_size=20)


@given(parts=st.lists(VALUES, min_size=1, max_size=4))
def test_moments_of_parts_add_up_to_those_of_the_whole(parts: list[list[float]]) -> None:
    total = sum((moments(torch.tensor(part, dtype=torch.float64)) for part in parts), Moments())
    whole = torch.tensor([value for part in parts for value in part], dtype=torch.float64)
    assert total.count == whole.numel()
    if whole.numel():
        assert total.mean == pytest.approx(whole.mean().item(), abs=1e-9)
        assert total.std == pytest.approx(whole.std(correction=0).item(), rel=1e-6, abs=1e-4)
        assert total.rms == pytest.approx(whole.square().mean().sqrt().item(), rel=1e-6, abs=1e-4)
        assert total.norm == pytest.approx(whole.norm().item(), rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_moments_neither_overflow_nor_underflow(dtype: torch.dtype) -> None:
    for scale in (1e-4, 1.0, 1e4) if dtype == torch.float16 else (1e-36, 1e-30, 1.0, 1e30):
        values = (torch.tensor([1.0, 3.0], dtype=torch.float64) * scale).to(dtype)
        found, (low, high) = moments(values), values.double().tolist()
        assert found.mean == pytest.approx((low + high) / 2, rel=1e-3)
        assert found.std == pytest.approx((high - low) / 2, rel=1e-3)


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    found = moments(torch.tensor([math.nan, 1.0, math.inf, 3.0, -math.inf]))
    assert (found.count, found.nonfinite, found.mean, found.std) == (2, 3, 2.0, 1.0)
    assert math.isnan(found.norm)
    nothing = moments(torch.tensor([math.nan]))
    assert nothing.count == 0 and nothing.std is None


def test_complex_and_sparse_values_are_measured() -> None:
    assert moments(torch.tensor([3 + 4j])).norm == pytest.approx(5)
    with torch.sparse.check_sparse_tensor_invariants():
        sparse = torch.sparse_coo_tensor(torch.tensor([[0, 0, 2]]), torch.tensor([1.0, 2.0, 4.0]), (1000,))
    assert moments(sparse).norm == pytest.approx(5)
    ids = torch.tensor([[1, 1, 3]])
    dense, sparse_gradient = (propagate(nn.Embedding(10, 4, sparse=sparse), ids) for sparse in (False, True))
    assert sparse_gradient.gradients == pytest.approx(dense.gradients)


@pytest.mark.parametrize(
    ("layer", "shape", "axis"),
    [
        (nn.Conv2d(1, 3, 1), (2, 3, 4, 5), -3),
        (nn.Conv2d(1, 3, 1), (3, 4, 5), -3),
        (nn.Conv1d(1, 3, 1), (2, 3, 4), -2),
        (nn.BatchNorm1d(3), (2, 3), -1),
        (nn.BatchNorm1d(3), (2, 3, 4), -2),
        (nn.GroupNorm(1, 3), (2, 3, 4, 5), -3),
        (nn.LayerNorm(5), (2, 3, 4, 5), -1),
        (nn.Linear(1, 5), (2, 3, 4, 5), -1),
        (nn.ReLU(), (2, 3, 4, 5), -3),
        (nn.ReLU(), (2, 3, 4), -1),
    ],
)
def test_the_axis_of_the_units(layer: nn.Module, shape: tuple[int, ...], axis: int) -> None:
    assert unit_axis(layer, torch.empty(shape), {}) == axis


def test_an_activation_keeps_the_axis_of_the_layer_before_it() -> None:
    known: dict[tuple[int, ...], int] = {}
    activation, output = nn.GELU(), torch.empty(2, 3, 4, 5)
    unit_axis(nn.Linear(1, 5), output, known)
    assert unit_axis(activation, output, known) == -1
    unit_axis(nn.Conv2d(1, 3, 1), output, known)
    assert unit_axis(activation, output, known) == -3
    assert unit_axis(activation, torch.empty(2, 3, 4, 6), known) == -3


def test_dead_units_are_counted_along_the_axis() -> None:
    output = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    output[:, 1] = 0
    output[:, 2] = 7
    output[0, 0] = 0
    assert dead_units(output, -3) == (2, 3)
    assert dead_units(output, -1) == (0, 5)
    output[0, 1, 0, 0] = math.nan
    assert dead_units(output, -3) == dead_units(output.bfloat16(), -3) == (1, 3)
    assert dead_units(torch.ones(3), -3) == (0, 0)


def test_something_varies_if_one_tensor_does() -> None:
    assert any_varies([torch.ones(2), torch.tensor([True, False])])
    assert not any_varies([torch.ones(2), torch.zeros(3)])
    assert any_varies([torch.tensor([math.nan, math.nan])])
    assert any_varies([torch.empty(0)])


EMPTY = "holds nothing: it must be 0 <= smallest < largest."


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (dict(std=1.0), ConfigTypeError, "Bounds.std=1.0 must be a pair: the smallest and the largest."),
        (dict(std=("a", 2)), ConfigTypeError, "Bounds.std=('a', 2) must be a number, not str."),
        (dict(gradient=(2, 1)), ConfigError, f"Bounds.gradient=(2, 1) {EMPTY}"),
        (dict(gain=(-1, 1)), ConfigError, f"Bounds.gain=(-1, 1) {EMPTY}"),
        (dict(std=(math.nan, 1)), ConfigError, f"Bounds.std=(nan, 1) {EMPTY}"),
        (dict(dead=50), ConfigError, "Bounds.dead=50 must be a share, between 0 and 1."),
        (dict(ignore="re:("), ConfigError, "'re:(' is not a regular expression: "),
    ],
)
def test_empty_bounds_are_refused(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        Bounds(**options)
    assert str(caught.value).startswith(text)


def test_an_ignored_module_covers_its_children_and_parameters() -> None:
    bounds = Bounds(ignore=("blocks.*.gate", "head"))
    assert bounds.ignores("blocks.3.gate") and bounds.ignores("blocks.3.gate.weight") and bounds.ignores("head.fc")
    assert not bounds.ignores("blocks.3") and not bounds.ignores("header") and not bounds.ignores("")
