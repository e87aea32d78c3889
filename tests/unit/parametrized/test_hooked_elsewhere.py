"""Weights that a hook of another library computes from a parameter of another name (`weight_orig`)."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from autoinit import autoinit, initialize, normal_init, plan, verify
from autoinit.parametrized import effective_weights
from tests import models

NORMAL = dict(type="Normal", layer="Linear", std=1.0)


def counted(layer: nn.Module, inputs: object) -> None:
    """A hook that computes nothing."""


def equalized(layer: nn.Module) -> nn.Module:
    layer.register_forward_pre_hook(counted)
    return models.equalized(layer)


def test_the_stored_parameter_gets_the_values_that_the_weight_has_without_the_hook() -> None:
    layer, plain = equalized(nn.Linear(64, 32)), nn.Linear(64, 32)
    stored = layer.weight_orig
    report = initialize(layer, NORMAL, seed=0)
    initialize(plain, NORMAL, seed=0)
    assert layer.weight_orig is stored and torch.equal(stored, plain.weight)
    assert str(report["weight"].gets) == "Normal(mean=0, std=1) through EqualizedLr"
    assert report["weight_orig"] is report["weight"] and report["weight"].stored == ("weight_orig",)
    torch.testing.assert_close(layer(torch.eye(64)), plain.weight.t() / math.sqrt(32) + plain.bias)
    assert verify(layer, report).ok
    with torch.no_grad():
        stored[:, 0] = 0
    assert not verify(layer, report).ok


def test_after_a_call_too_and_the_attribute_is_not_stale() -> None:
    layer = equalized(nn.Linear(8, 8))
    layer(torch.ones(1, 8))
    normal_init(layer, std=2)
    assert isinstance(layer.weight, Tensor) and not isinstance(layer.weight, nn.Parameter)
    assert layer.weight.data_ptr() == layer.weight_orig.data_ptr()  # type: ignore[operator, union-attr]
    assert [*layer._parameters] == ["bias", "weight_orig"]


def test_fans_are_those_of_the_layer() -> None:
    cfg = dict(type="LeCun", layer="ConvTranspose2d", distribution="normal")
    made = [nn.ConvTranspose2d(8, 4, 3, groups=2) for _ in range(2)]
    decided = [plan(layer, cfg)["weight"] for layer in (equalized(made[0]), made[1])]
    assert decided[0].fill == decided[1].fill and decided[0].fans == decided[1].fans


def test_in_a_block_and_in_copies() -> None:
    with autoinit(NORMAL, seed=0) as run:
        first = equalized(nn.Linear(64, 64))
        model = nn.Sequential(first, copy.deepcopy(first))
    assert run.report.outcomes == {"filled": 4}
    assert all(abs(float(layer.weight_orig.detach().std()) - 1) < 0.1 for layer in model)  # type: ignore[operator, union-attr]


def test_a_rule_may_name_what_is_stored() -> None:
    layer = equalized(nn.Linear(4, 4))
    initialize(layer, [NORMAL, dict(type="Constant", val=3, layer="Linear", params="weight_orig")])
    assert (layer.weight_orig == 3).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("kept", [None, 3, "parameter"])
def test_a_name_that_ends_so_is_not_enough(kept: object) -> None:
    layer = nn.Linear(4, 4)
    layer.register_forward_pre_hook(counted)
    layer.scale_orig = nn.Parameter(torch.zeros(4))
    if kept is not None:
        layer.scale = nn.Parameter(torch.zeros(4)) if kept == "parameter" else kept
    assert not list(effective_weights(layer))


def test_hooks_are_told_apart() -> None:
    layer = nn.Linear(4, 4)
    layer.scale_orig, layer.scale = nn.Parameter(torch.zeros(4)), torch.zeros(4)
    assert "scale" not in plan(layer, NORMAL)  # Without a hook a plain attribute computes nothing.
    assert [weight.name for weight in effective_weights(nn.utils.spectral_norm(layer))] == ["weight"]
    layer = nn.utils.spectral_norm(nn.Linear(4, 4))
    layer.register_forward_pre_hook(counted)
    assert [weight.through for weight in effective_weights(layer)] == ["spectral_norm"]
    layer = equalized(nn.Linear(4, 4))
    layer._forward_pre_hooks.popitem()
    [weight] = effective_weights(layer)
    assert weight.through == "counted" and weight.obstacle is weight.constraint is None
