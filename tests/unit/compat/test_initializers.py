"""`autoinit.compat.mmengine`: initializers that are called with a module, and `initialize`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmengine.model
import pytest
import torch
from torch import nn

import autoinit
from autoinit import AutoInitWarning, ConfigError, ConfigTypeError, ShapeError, TargetError
from autoinit.compat import mmengine as compat
from autoinit.compat.mmengine import WEIGHT_INITIALIZERS, BaseInit, ConstantInit, KaimingInit
from tests.models import filled_with

from .modules import LINEAR, PlainOwnInit, bias, constant, linear, silence, weight

NAMES = [
    *("ConstantInit", "XavierInit", "NormalInit", "TruncNormalInit"),
    *("UniformInit", "KaimingInit", "Caffe2XavierInit", "PretrainedInit"),
]
FUNCTIONS = [
    *("constant_init", "xavier_init", "normal_init", "trunc_normal_init", "uniform_init", "kaiming_init"),
    *("caffe2_xavier_init", "bias_init_with_prob", "initialize", "update_init_info"),
]
REQUIRED = dict(ConstantInit=dict(val=3), PretrainedInit=dict(checkpoint="x.pth"))


def parameters_of(function: Callable[..., Any]) -> list[tuple[str, object, object]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", [*NAMES, *FUNCTIONS, "BaseModule", "ModuleList", "ModuleDict"])
def test_arguments_are_those_of_the_original(name: str) -> None:
    assert parameters_of(getattr(compat, name)) == parameters_of(getattr(mmengine.model, name))


ARGUMENTS = [
    *({}, dict(bias=2), dict(bias=True), dict(bias=2, bias_prob=0.01), dict(layer="Linear")),
    *(dict(layer=["Linear", "Conv2d"]), dict(bias="2"), dict(bias=None), dict(bias_prob=1), dict(bias_prob="0.1")),
    *(dict(layer=("Linear",)), dict(layer=nn.Linear), dict(nonsense=1)),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_constructors_and_their_errors(name: str, arguments: dict[str, Any]) -> None:
    def outcome(names: Any) -> object:
        try:
            made = getattr(names, name)(**REQUIRED.get(name, {}), **arguments)
        except TypeError:
            return TypeError
        shown = vars(made).items()
        return {key: round(v, 12) if isinstance(v, float) else v for key, v in shown if key != "wholemodule"}

    assert outcome(compat) == outcome(mmengine.model)


def some_model() -> nn.Module:
    inner = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Linear(3, 4, bias=False))
    return filled_with(9, nn.Sequential(nn.Linear(3, 4), inner))


def kinds(model: nn.Module) -> dict[str, object]:
    distinct = {name: set(param.flatten().tolist()) for name, param in model.named_parameters()}
    return {name: values.pop() if len(values) == 1 else "random" for name, values in distinct.items()}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "PretrainedInit"])
@pytest.mark.parametrize("layer", ["Linear", ["_ConvNd"], ["Linear", "Conv2d"], "LayerNorm", None], ids=str)
@pytest.mark.parametrize("call", ["itself", "apply", "whole"])
def test_called_with_a_module(name: str, layer: Any, call: str) -> None:
    def outcome(names: Any) -> dict[str, object]:
        model = some_model()
        initializer = getattr(names, name)(**REQUIRED.get(name, {}), bias=0.5, layer=layer)
        initializer.wholemodule = call == "whole"
        if call == "apply":
            model.apply(initializer)
        else:
            initializer(model)
        return kinds(model)

    assert outcome(compat) == outcome(mmengine.model)


def test_a_scheme_is_what_its_attributes_say() -> None:
    layer, initializer = nn.Linear(300, 400), KaimingInit(layer="Linear")
    initializer.mode = "fan_in"
    initializer(layer)
    assert layer.weight.std().item() == pytest.approx((2 / 300) ** 0.5, rel=0.02)


def test_errors_of_a_call_change_nothing() -> None:
    model = nn.Sequential(linear(), nn.LayerNorm(2))
    with pytest.raises(ShapeError, match=r"KaimingInit .*1\.weight of LayerNorm"):
        KaimingInit(layer=["Linear", "LayerNorm"])(model)
    assert weight(model[0]) == 9


def test_calls_and_notes_touch_nothing_else() -> None:
    model = nn.Sequential(compat.Sequential(PlainOwnInit(), init_cfg=constant(3, layer="Linear")))
    ConstantInit(val=1, layer="Linear")(model)
    assert (weight(model[0][0].c0), model[0].is_init) == (1, False)
    before = set(vars(layer := linear()))
    assert compat.update_init_info(layer, init_info="by hand") is None
    assert set(vars(layer)) == before


def test_pretrained(tmp_path: Path) -> None:
    path = str(tmp_path / "whole.pth")
    torch.save({f"backbone.{key}": torch.full_like(value, 4.0) for key, value in linear().state_dict().items()}, path)
    layer = linear()
    compat.PretrainedInit(path, prefix="backbone.")(layer)
    assert (weight(layer), bias(layer)) == (4, 4)
    with pytest.raises(autoinit.CheckpointError, match=r"PretrainedInit: checkpoint 'gone\.pth' does not exist"):
        compat.PretrainedInit("gone.pth")(layer)


# ---------------------------------------------------------------- initialize


@pytest.mark.parametrize("cfg", [None, "Constant", (LINEAR,), 3])
def test_types_of_a_config(cfg: Any) -> None:
    for initialize in (compat.initialize, mmengine.model.initialize):
        with pytest.raises(TypeError, match=r"a dict or a list"):
            initialize(linear(), cfg)


def test_a_layer_that_matches_nothing_is_a_warning_and_a_missing_target_an_error() -> None:
    for layer, words in (("Linaer", "Did you mean 'Linear'"), ("Conv2d", "this model has none")):
        with pytest.warns(AutoInitWarning, match=words):
            compat.initialize(linear(), constant(1, layer=layer))
    model = nn.Sequential(linear())
    cfg = dict(LINEAR, override=dict(name="head"))
    for initialize in (compat.initialize, mmengine.model.initialize):
        with pytest.raises(RuntimeError, match="head"):
            initialize(model, cfg)
    with pytest.raises(TargetError, match=r"init_cfg\.override\.name"):
        compat.initialize(model := nn.Sequential(linear()), cfg)
    assert weight(model[0]) == 9


def test_the_order_of_a_list_holds_for_checkpoints(tmp_path: Path) -> None:
    """As in the original's function, and unlike in `BaseModule.init_weights` and `autoinit.initialize`."""
    path = str(tmp_path / "all.pth")
    torch.save({key: torch.full_like(value, 4.0) for key, value in linear().state_dict().items()}, path)
    load = dict(type="Pretrained", checkpoint=path)
    for cfg, expected in (([load, LINEAR], 1), ([LINEAR, load], 4), ([load, LINEAR, load], 4)):
        for initialize in (compat.initialize, mmengine.model.initialize):
            with silence():
                initialize(layer := linear(), cfg)
            assert weight(layer) == expected
    autoinit.initialize(layer := linear(), [load, LINEAR])
    assert weight(layer) == 4
    model = filled_with(9, nn.Sequential(linear(), nn.LayerNorm(2)))
    torch.save({key: torch.full_like(value, 5.0) for key, value in model.state_dict().items()}, path)
    with pytest.raises(ShapeError):  # The second of two plans fails; the first was not applied.
        compat.initialize(model, [LINEAR, load, dict(type="Kaiming", layer="LayerNorm")])
    assert weight(model[0]) == 9


def test_a_checkpoint_for_a_part(tmp_path: Path) -> None:
    """An override that loads, under a rule of whatever type."""
    path = str(tmp_path / "part.pth")
    torch.save({f"neck.{key}": torch.full_like(value, 4.0) for key, value in linear().state_dict().items()}, path)
    load = dict(type="Pretrained", name="1", checkpoint=path, prefix="neck")
    for initialize in (autoinit.initialize, compat.initialize, mmengine.model.initialize):
        with silence():
            initialize(model := nn.Sequential(linear(), linear()), dict(LINEAR, override=load))
        assert (weight(model[0]), weight(model[1])) == (1, 4)


# ---------------------------------------------------------------- initializers of users, registered as in the original


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
