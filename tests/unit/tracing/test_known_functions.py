"""Functions of torch and their initializers: the fill has the moments of what the function draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from autoinit import trace
from autoinit.initializers import (
    Constant,
    LeCun,
    Normal,
    Orthogonal,
    TruncNormal,
    Uniform,
    VarianceScaling,
    Xavier,
    resolve,
)
from autoinit.tracing.known_functions import of_function, of_operator, scaled

SHAPE = (200, 300)
CALLS = [
    ("normal_", {"mean": 1.0, "std": 0.5}, SHAPE),
    ("uniform_", {"a": -1.0, "b": 3.0}, SHAPE),
    ("trunc_normal_", {"std": 0.5, "a": -0.5, "b": 1.0}, SHAPE),
    ("constant_", {"val": 3.0}, SHAPE),
    ("zeros_", {}, SHAPE),
    ("ones_", {}, SHAPE),
    ("xavier_uniform_", {"gain": 2.0}, SHAPE),
    ("xavier_normal_", {}, (40, 30, 5, 5)),
    ("kaiming_uniform_", {"a": math.sqrt(5)}, SHAPE),
    ("kaiming_uniform_", {}, SHAPE),
    ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}, (40, 30, 5, 5)),
    ("kaiming_normal_", {"a": 0.5, "nonlinearity": "tanh"}, SHAPE),
    ("orthogonal_", {"gain": 2.0}, SHAPE),
    ("eye_", {}, (20, 30)),
    ("dirac_", {"groups": 2}, (4, 2, 3)),
    ("sparse_", {"sparsity": 0.25, "std": 0.1}, SHAPE),
]


class Holder(nn.Module):
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.p = nn.Parameter(value)


@pytest.mark.parametrize(("name", "arguments", "shape"), CALLS, ids=lambda value: str(value))
def test_the_initializer_of_a_function_of_torch_has_its_moments(
    name: str, arguments: dict[str, object], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    with trace() as t:
        model = Holder(getattr(nn.init, name)(torch.empty(shape), **arguments))
    known = t.fills["p"]
    assert known is not None
    fill = resolve(known, shape, torch.float32).fill
    assert fill is not None
    mean, std = model.p.mean().item(), model.p.std(correction=0).item()
    if hasattr(fill, "std"):
        assert fill.std == pytest.approx(std, rel=0.02, abs=1e-6)
    if hasattr(fill, "mean"):
        assert fill.mean == pytest.approx(mean, abs=0.02)


def test_all_functions_of_torch_are_known() -> None:
    assert {name for name, *_ in CALLS} == {name for name in vars(nn.init) if name[0] != "_" and name[-1] == "_"}


def test_functions_of_timm() -> None:
    given = {"mean": 1.0, "std": 0.5, "a": -2.0, "b": 2.0}
    assert of_function("trunc_normal_tf_", given) == TruncNormal(mean=1, std=0.5, a=0, b=2)
    assert of_function("lecun_normal_", {}) == LeCun()
    scaling = {"scale": 2.0, "mode": "fan_out", "distribution": "normal"}
    assert of_function("variance_scaling_", scaling) == VarianceScaling(**scaling)


def test_arguments_that_autoinit_refuses_have_no_initializer() -> None:
    assert of_function("constant_", {}) is None
    assert of_function("kaiming_normal_", {"nonlinearity": "gelu"}) is None
    assert of_function("mine_", {}) is None
    assert of_operator("exponential_", (1.0,)) is None
    assert of_operator("normal_", (0.0, -1.0)) is None


@pytest.mark.parametrize(
    ("initializer", "factor", "shift", "result"),
    [
        (Normal(mean=1, std=2), -3, 1, Normal(mean=-2, std=6)),
        (Uniform(a=0, b=1), -2, 1, Uniform(a=-1, b=1)),
        (Constant(val=2), 3, 1, Constant(val=7)),
        (TruncNormal(std=1, a=-1, b=2), -1, 0, TruncNormal(std=1, a=-2, b=1)),
        (Xavier(gain=2), 3, 0, Xavier(gain=6)),
        (Xavier(), 1, 1, None),
        (Orthogonal(gain=2), -1, 0, Orthogonal(gain=-2)),
        (Normal(), math.inf, 0, None),
        (Normal(), 1e300, 0, None),
        (None, 2, 0, None),
    ],
)
def test_scaling(initializer: object, factor: float, shift: float, result: object) -> None:
    assert scaled(initializer, factor, shift) == result  # type: ignore[arg-type]
