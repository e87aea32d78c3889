"""Functions of torch and their initializers: the fill has the moments of what the function draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from autoinit import trace
from autoinit.initializers import (
    LeCun,
    TruncNormal,
    VarianceScaling,
    resolve,
)
from autoinit.tracing.known_functions import of_function
from tests.models import Around

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


@pytest.mark.parametrize(("name", "arguments", "shape"), CALLS, ids=lambda value: str(value))
def test_the_initializer_of_a_function_of_torch_has_its_moments(
    name: str, arguments: dict[str, object], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    with trace() as t:
        model = Around(p=getattr(nn.init, name)(torch.empty(shape), **arguments))
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
