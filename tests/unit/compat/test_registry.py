"""Initializers in the style of the original's `BaseInit`, written by users and registered as there."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import autoinit
from autoinit import ConfigError, ConfigTypeError
from autoinit.compat import mmengine as compat
from autoinit.compat.mmengine import WEIGHT_INITIALIZERS, BaseInit, ConstantInit

from .modules import LINEAR, bias, linear, weight


class StairsOfTestsInit(BaseInit):
    """In the style of the original's: weights 0, 1, 2 ... times `scale`."""

    def __init__(self, scale: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def __call__(self, module: nn.Module) -> None:
        def init(m: nn.Module) -> None:
            names = [type(m).__name__, *(base.__name__ for base in type(m).__bases__)]
            if isinstance(getattr(m, "weight", None), nn.Parameter) and (self.wholemodule or {*names} & {*self.layer}):
                m.weight.data.copy_(self.scale * torch.arange(m.weight.numel()).view_as(m.weight))
                m.bias.data.fill_(self.bias)

        module.apply(init)
        if hasattr(module, "_params_init_info"):
            compat.update_init_info(module, init_info=self._get_init_info())


def stairs(scale: float) -> list[list[float]]:
    return [[0, scale], [2 * scale, 3 * scale]]


@pytest.mark.parametrize("spelling", ["StairsByName", "StairsByNameInit", "some_scope.StairsByName", StairsOfTestsInit])
def test_a_registered_initializer(spelling: Any) -> None:
    assert WEIGHT_INITIALIZERS.register_module(name="StairsByName")(StairsOfTestsInit) is StairsOfTestsInit
    model = nn.Sequential(linear(), nn.Sequential(linear()), linear(), nn.Conv2d(1, 1, 1))
    before = model[3].weight.item()
    cfg = [
        dict(type=spelling, layer="Linear", scale=2, bias=5, override=dict(name="1")),
        dict(type="Constant", val=1, override=dict(type=spelling, name="2", bias_prob=0.5)),
    ]
    unchanged = copy.deepcopy(cfg)
    for initialize in (autoinit.initialize, compat.initialize):
        initialize(model, cfg)
        layers = (model[0], model[1][0], model[2])
        assert [layer.weight.tolist() for layer in layers] == [stairs(2), stairs(2), stairs(1)]
        assert [bias(layer) for layer in layers] == [5, 5, 0]
        assert model[3].weight.item() == before
    assert cfg == unchanged


def test_a_registered_initializer_in_the_config_of_a_module() -> None:
    WEIGHT_INITIALIZERS.register_module(name="StairsByName", module=StairsOfTestsInit)
    model = compat.Sequential(linear(), linear(), init_cfg=dict(type="StairsByName", override=dict(name="1")))
    model.init_weights()
    assert (weight(model[0]), model[1].weight.tolist()) == (9, stairs(1))


def test_a_plan_with_an_initializer_of_modules_can_be_applied_twice() -> None:
    """One object serves the rule and its override, which sets `wholemodule`."""
    cfg = dict(type=StairsOfTestsInit, layer="Conv2d", override=dict(name="1"))
    made = autoinit.plan(model := nn.Sequential(linear(), linear(), nn.Conv2d(1, 1, 1)), cfg)
    for _ in range(2):
        made.apply(model)
    assert (weight(model[0]), model[1].weight.tolist()) == (9, stairs(1))


class DoubledInit(ConstantInit):
    def __init__(self, half: float, **kwargs: Any) -> None:
        super().__init__(2 * half, **kwargs)


def test_subclasses_and_objects_as_types() -> None:
    autoinit.initialize(layer := linear(), dict(type=DoubledInit, half=3, layer="Linear"))
    assert weight(layer) == 6
    initializer = ConstantInit(val=8, layer="Linear")
    autoinit.initialize(layer, dict(type=initializer))
    model = nn.Sequential(nn.Conv2d(1, 1, 1), linear())
    autoinit.initialize(model, dict(LINEAR, override=dict(type=initializer, name="0")))
    assert (weight(layer), weight(model[0]), initializer.wholemodule) == (8, 8, False)


def test_names_in_the_registry() -> None:
    register = WEIGHT_INITIALIZERS.register_module
    register(name=["FirstOfTests", "SecondOfTests"], module=StairsOfTestsInit)
    register()(StairsOfTestsInit)
    for name in ("FirstOfTests", "SecondOfTests", "StairsOfTestsInit"):
        autoinit.initialize(layer := linear(), dict(type=name, layer="Linear"))
        assert layer.weight.tolist() == stairs(1)
    with pytest.raises(ConfigError, match="'Kaiming' is the name of"):
        register(name="Kaiming", module=StairsOfTestsInit)
    register(name="Kaiming", module=StairsOfTestsInit, force=True)
    autoinit.initialize(layer := linear(), dict(type="Kaiming", layer="Linear"))
    assert layer.weight.tolist() == stairs(1)
    for arguments in (dict(name=3), dict(name=[3]), dict(force="yes")):
        with pytest.raises(ConfigTypeError, match="register_module"):
            register(module=StairsOfTestsInit, **arguments)
