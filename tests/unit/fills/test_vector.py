"""Values that are written one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoinit import ShapeError, initialize
from autoinit.fills import Vector
from autoinit.sampling import Region, Run, Sampler, derive_key

floats = st.floats(-1e6, 1e6, width=32)


def written(values: list[float], dtype: torch.dtype) -> torch.Tensor:
    tensor = torch.empty(len(values), dtype=dtype)
    Vector(tuple(values)).write(tensor, lambda stream: derive_key(0, 0, "w", stream), Sampler(torch.device("cpu")))
    return tensor


@given(values=st.lists(floats, min_size=1, max_size=9), dtype=st.sampled_from([torch.float64, torch.bfloat16]))
def test_values_mean_std_and_cdf(values: list[float], dtype: torch.dtype) -> None:
    fill = Vector(tuple(values))
    assert torch.equal(written(values, dtype), torch.tensor(values, dtype=torch.float64).to(dtype))
    assert (fill.mean, fill.std) == pytest.approx((np.mean(values), np.std(values)), rel=1e-9, abs=1e-9)
    points = torch.tensor([*values, 0.5], dtype=torch.float64)
    assert fill.cdf(points).tolist() == [sum(value <= x for value in values) / len(values) for x in points.tolist()]
    assert fill.scaled(-2).values == tuple(-2 * value for value in values)


def test_a_region_has_its_own_values() -> None:
    fill, part = Vector((1.0, 2.0, 3.0, 4.0, 5.0)), torch.empty(2)
    fill.write_region(part, Region((5,), ((Run(3, 0, 2),),)), lambda _: None, Sampler(torch.device("cpu")))
    assert part.tolist() == [4.0, 5.0]


def test_a_value_beyond_the_dtype() -> None:
    layer = torch.nn.Linear(2, 2, dtype=torch.float16)
    with pytest.raises(ShapeError, match="reaches 70000, and the largest float16 is 65504"):
        initialize(layer, dict(type="Constant", val=[0, 7e4], layer="Linear", params="bias"))
