"""Modules with an `init_cfg`, ours and those of the real mmengine, in blocks and given to `autoinit.initialize`."""

from __future__ import annotations

import copy

import mmengine.model
import pytest
import torch
from torch import nn

import autoinit
from autoinit import AutoInitWarning
from autoinit.compat.mmengine import Sequential

from .modules import LINEAR, Block, NoSuper, OwnInit, PlainOwnInit, bias, constant, linear, weight


def test_a_block_carries_out_what_modules_say() -> None:
    with autoinit.autoinit(constant(1, layer="Linear"), own_init="run") as run:
        model = Block(
            linear(),
            nn.Sequential(Sequential(linear(), init_cfg=constant(2, layer="Linear"))),
            OwnInit(linear(), linear(), init_cfg=constant(3, layer="Linear")),
            NoSuper(linear(), linear(), init_cfg=constant(4, layer="Linear")),
        )
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert [weight(layer) for layer in layers] == [1, 2, 50, 3, 60, 1]
    assert [bias(layer) for layer in layers] == [1, 2, 3, 3, 1, 1]
    assert (model.is_init, model.c1[0].is_init, model.c2.is_init) == (True, True, True)
    assert run.report["c2.c0.weight"].outcome == "own init_weights"
    with pytest.warns(AutoInitWarning, match="more than once"):
        model.init_weights()
    assert [weight(layer) for layer in layers] == [1, 2, 50, 3, 60, 1]


def test_init_weights_in_a_block_comes_before_its_rules_and_beats_them() -> None:
    with autoinit.autoinit(constant(1, layer="Linear")) as run:
        model = Block(linear(), Sequential(linear(), init_cfg=constant(2, layer="Linear")), PlainOwnInit())
        model.init_weights()
        assert (weight(model.c0), weight(model.c1[0]), weight(model.c2.c0)) == (9, 2, 70)
    assert (weight(model.c0), weight(model.c1[0]), weight(model.c2.c0), bias(model.c2.c0)) == (1, 2, 70, 1)
    assert run.report["c1.0.weight"].origin == "c1.init_cfg"


def test_loaded_and_foreign_weights_stay_as_they_are() -> None:
    outside = linear()
    with autoinit.autoinit():
        model = OwnInit(linear(), outside, linear(), init_cfg=LINEAR)
        model.c0.load_state_dict({"weight": torch.full((2, 2), 3.0), "bias": torch.full((2,), 3.0)})
    assert (weight(model.c0), bias(model.c0), weight(outside), weight(model.c2)) == (3, 3, 9, 1)


def test_copies_in_a_block() -> None:
    with autoinit.autoinit(constant(1, layer="Linear")):
        model = Block(linear(), init_cfg=constant(2, layer="Linear"))
        other = copy.deepcopy(model)
    assert (weight(model.c0), weight(other.c0), other.is_init) == (2, 2, True)


# ---------------------------------------------------------------- modules of the real mmengine


def test_real_classes_as_types() -> None:
    layer = linear()
    autoinit.initialize(layer, dict(type=mmengine.model.ConstantInit, val=5, layer="Linear"))
    assert weight(layer) == 5


def test_initializers_that_are_registered_with_the_original() -> None:
    from mmengine.registry import WEIGHT_INITIALIZERS

    @WEIGHT_INITIALIZERS.register_module(name="OnlyThere")
    class OnlyThere(mmengine.model.weight_init.BaseInit):
        def __call__(self, module: nn.Module) -> None:
            for part in module.modules():
                if self.wholemodule or type(part).__name__ in self.layer:
                    mmengine.model.constant_init(part, 6)

    try:
        model = nn.Sequential(linear(), linear())
        autoinit.initialize(model[0], dict(type="OnlyThere", layer="Linear"))
        autoinit.initialize(model, dict(type="OnlyThere", override=dict(name="1")))
        assert (weight(model[0]), weight(model[1])) == (6, 6)
    finally:
        WEIGHT_INITIALIZERS.module_dict.pop("OnlyThere")
