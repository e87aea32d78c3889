"""`within`, `ndim`, names of parameters and patterns over full names: what they select, and what is said if nothing."""

from __future__ import annotations

import json
import pathlib
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import AutoInitError, AutoInitWarning, MatchError, autoinit, initialize, plan
from tests.models import Around
from tests.unit.planning.net import Block, Net, SubLinear, constant, values
from tests.zoo.operators import torchvision_operators

CONV1 = {f"layer{layer}.{block}.conv1" for layer, block in ((1, 0), (1, 1), (2, 0))}


def given(cfg: object, model: nn.Module | None = None) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return values(model if model is not None else Net(), cfg)


def names(**keys: Any) -> set[str]:
    return set(given(constant(1, **keys)))


def with_ends(paths: set[str], *ends: str) -> set[str]:
    return {f"{path}.{end}" for path in paths for end in ends}


# --- within ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (dict(within="Block", layer="Conv2d"), with_ends(CONV1, "weight", "bias")),
        (dict(within=Block, layer="Conv2d", params="weight"), with_ends(CONV1, "weight")),
        (dict(within=["Block", "SubLinear"], layer="Linear", params="bias", name=["head", "**.proj"]),
         {"head.bias", "layer1.0.attn.proj.bias", "layer1.1.attn.proj.bias", "layer2.0.attn.proj.bias"}),
        (dict(within="tests.unit.planning.net.GrandLinear"), {"head.weight", "head.bias"}),
        (dict(within="Net", name="layer2.**", layer="Conv2d"), {"layer2.0.conv1.weight", "layer2.0.conv1.bias"}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_within_is_the_class_of_a_module_around_it(keys: dict[str, Any], expected: set[str]) -> None:
    assert names(**keys) == expected


def test_zero_init_residual_of_torchvision() -> None:
    torchvision_operators()
    import torchvision

    cfg = constant(0, within="BasicBlock", name="**.bn2", params="weight")
    decided = given(cfg, torchvision.models.resnet18())
    published = torchvision.models.resnet18(zero_init_residual=True)
    assert set(decided) == {
        name for name, param in published.named_parameters() if not param.any() and "weight" in name
    }


def test_a_module_that_is_in_two_places_is_within_each() -> None:
    shared = nn.Linear(2, 2)
    model = Around(dict(first=shared, second=nn.Sequential(shared)))
    [entry] = [each for each in plan(model, constant(1, within="Sequential")).values() if each.fqn == "first.weight"]
    assert entry.rule is not None and entry.aliases == ("second.0.weight",)


def test_in_a_modules_own_config_the_modules_around_it_do_not_count() -> None:
    inner = nn.Sequential(nn.Linear(2, 2), Block())
    inner.init_cfg = constant(1, within="Block", layer="Linear")
    assert set(given(None, Around(dict(block=nn.Sequential(inner))))) == {
        "block.0.1.attn.proj.weight",
        "block.0.1.attn.proj.bias",
    }
    proj = nn.Sequential(nn.Linear(2, 2))
    proj.init_cfg = constant(1, within="Around", layer="Linear")
    with pytest.warns(AutoInitWarning, match="within='Around'.*The model has such layers, but none there"):
        assert not plan(Around(dict(a=proj)))["a.0.weight"].rule


def test_an_override_may_have_it_and_one_with_only_a_name_does_not_inherit_it() -> None:
    own = dict(type="Constant", val=2, name="layer1", within="Block", params="weight", ndim=4)
    decided = given(constant(1, within=SubLinear, override=[dict(name="layer2"), own]))
    assert {fqn: value for fqn, value in decided.items() if value == 2} == {
        "layer1.0.conv1.weight": 2.0,
        "layer1.1.conv1.weight": 2.0,
    }
    assert decided["layer2.0.norm1.weight"] == 1


# --- ndim --------------------------------------------------------------------------------------------------------


def test_more_than_one_dimension_as_detr_and_the_annotated_transformer_say() -> None:
    model = nn.Transformer(8, 2, 1, 1, 16)
    decided = plan(model, dict(type="Xavier", distribution="uniform", params="*", ndim=">1"))
    assert {fqn for fqn, entry in decided.items() if entry.rule} == {
        name for name, param in model.named_parameters() if param.dim() > 1
    }
    assert names(ndim=3, params="*") == {"cls_token"}
    assert names(ndim=">1") == {fqn for fqn in names(name="**") if "norm1" not in fqn and fqn.endswith("weight")}


def test_of_a_computed_weight_the_dimensions_that_forward_uses() -> None:
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    assert set(given(constant(1, ndim=2), model)) == {"weight"}
    buffers = nn.BatchNorm1d(2)
    assert set(given(constant(1, ndim=1, params=["running_mean", "weight"]), buffers)) == {"weight", "running_mean"}


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv1d(2, 1), nn.LazyLinear(3))


def test_a_lazy_parameter_is_decided_when_it_has_a_shape() -> None:
    cfg = [
        constant(1, layer="Linear"),
        constant(2, layer="Linear", ndim=3),
        dict(type="Normal", params="*", ndim=[3, 4]),
        constant(5, params="bias", ndim=">1"),
    ]
    with autoinit(cfg, seed=0) as run:
        model = lazy()
    report = run.report
    assert report["1.bias"].gets == (
        "Constant(val=5.0) if ndim=>1, else Constant(val=0.0) if ndim=3 or 4, else Constant(val=0.0) if ndim=3, "
        "else Constant(val=0.0)"
    )
    assert report["0.bias"].gets.endswith("Constant(val=0.0) if ndim=3 or 4")
    json.dumps(report.to_dict())
    model(torch.zeros(1, 4, 5))
    assert {fqn: (entry.outcome, entry.origin, entry.beat) for fqn, entry in report.items()} == {
        "0.weight": ("filled", "init_cfg[2]", ()),
        "0.bias": ("kept", "", ()),
        "1.weight": ("filled", "init_cfg[0]", ()),
        "1.bias": ("filled", "init_cfg[0]", ()),
    }
    assert report.uncovered == ("0.bias",)
    eager = nn.Sequential(nn.Conv1d(4, 2, 1), nn.Linear(5, 3))
    initialize(eager, cfg, seed=0, unmatched="ignore")
    assert torch.equal(model[0].weight, eager[0].weight) and torch.equal(model[1].weight, eager[1].weight)


def test_a_plan_of_lazy_layers_is_applied_to_layers_with_shapes() -> None:
    cfg = [constant(1, layer="Linear"), constant(2, layer="Linear", ndim=1, params="*")]
    decided, model = plan(lazy(), cfg), nn.Sequential(nn.Conv1d(4, 2, 1), nn.Linear(5, 3))
    report = decided.apply(model)
    assert (model[1].weight == 1).all() and report["1.weight"].origin == "init_cfg[0]"


def test_a_checkpoint_below_an_undecided_rule_is_an_error(tmp_path: pathlib.Path) -> None:
    torch.save({"weight": torch.ones(3, 5), "bias": torch.ones(3)}, tmp_path / "a.pth")
    override = constant(2, name="1", ndim=">1")
    cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "a.pth"), prefix=None, override=override)
    torch.save({"1.weight": torch.ones(3, 5), "1.bias": torch.ones(3)}, tmp_path / "a.pth")
    with pytest.raises(AutoInitError, match=r"1.weight has no shape yet, so ndim cannot choose between this rule and"):
        plan(Around({"1": nn.LazyLinear(3)}), cfg)


# --- names of parameters, and patterns over full names -----------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (dict(name="head.weight"), {"head.weight": 1.0}),
        (dict(name="head.bias"), {"head.bias": 1.0}),
        (dict(name=["head.weight", "head.bias"]), {"head.weight": 1.0, "head.bias": 0.0}),
        (dict(name="cls_token"), {"cls_token": 1.0}),
        (dict(name="head.*"), {"head.weight": 1.0, "head.bias": 0.0}),
        (dict(name="head.*", params="bias"), {"head.bias": 1.0}),
        (dict(name=["cls_token", "head"]), {"cls_token": 1.0, "head.weight": 1.0, "head.bias": 0.0}),
        (dict(name=r"re:layer1\.[01]\.norm1\.bias"), {"layer1.0.norm1.bias": 1.0, "layer1.1.norm1.bias": 1.0}),
        (dict(name="**.bias", layer="_BatchNorm", within="Block", params="*"),
         {"layer1.0.norm1.bias": 1.0, "layer1.1.norm1.bias": 1.0, "layer2.0.norm1.bias": 1.0}),
        (dict(name=["head.bias", "layer2.0.norm1.bias"], within="Block"), {"layer2.0.norm1.bias": 1.0}),
        (dict(name="layer2.0.norm1.running_mean"), {"layer2.0.norm1.running_mean": 1.0}),
        (dict(params="layer2.**.weight", layer=["Conv2d", "Linear"]),
         {"layer2.0.conv1.weight": 1.0, "layer2.0.attn.proj.weight": 1.0}),
        (dict(params="layer2.*.conv1.*", bias=3), {"layer2.0.conv1.weight": 1.0, "layer2.0.conv1.bias": 3.0}),
        (dict(params="re:(?!layer).*"), {"cls_token": 1.0, "head.weight": 1.0, "head.bias": 0.0}),
        (dict(params="re:.*head.*bias"), {"head.bias": 1.0}),
        (dict(params=["cls_*", "head.weight"]), {"cls_token": 1.0, "head.weight": 1.0}),
    ],
    ids=str,
)  # fmt: skip
def test_full_names(keys: dict[str, Any], expected: dict[str, float]) -> None:
    assert given(constant(1, **keys)) == expected


def test_a_module_wins_over_a_parameter_of_the_same_pattern() -> None:
    model = Around(dict(scale=nn.Linear(2, 2)))
    model.inner = Around(scale=torch.zeros(3))
    assert set(given(constant(1, name="scale"), model)) == {"scale.weight", "scale.bias"}
    assert set(given(constant(1, name="**.scale"), model)) == {"scale.weight", "scale.bias"}
    assert set(given(constant(1, name="inner.scale"), model)) == {"inner.scale"}


def test_lists_of_parameters_and_computed_weights_have_names() -> None:
    model = Around(dict(wn=nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))))
    model.scales = nn.ParameterList([torch.zeros(2), torch.zeros(2)])
    assert given(constant(1, name=["scales.1", "wn.weight"]), model) == {"scales.1": 1.0, "wn.weight": 1.0}
    assert given(constant(1, params=["scales.0"]), model) == {"scales.0": 1.0}


def test_in_a_modules_own_config_full_names_begin_at_it() -> None:
    head = Around(dict(fc=nn.Linear(2, 2)))
    head.init_cfg = [constant(1, name="fc.weight"), constant(2, params="fc.bias")]
    assert given(None, Around(dict(head=head))) == {"head.fc.weight": 1.0, "head.fc.bias": 2.0}


def test_a_lazy_parameter_has_a_name() -> None:
    with autoinit(constant(1, name="1.weight")):
        model = lazy()
    model(torch.zeros(1, 4, 5))
    assert (model[1].weight == 1).all() and not (model[1].bias == 1).any()


# --- rules that match nothing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (dict(within="Blok"), r"^init_cfg \(within='Blok'\) matches no module of Net. .* 'Block' \(3 modules\)\?$"),
        (dict(within=["Block", "Qwerty"]), r"^init_cfg \(within='Qwerty'\) matches no module of Net. The model has: "),
        (dict(name="head.wieght"), r"matches no module of Net. Did you mean 'head.weight'\?$"),
        (dict(name="head.weight", layer="Conv2d"), "What has such a name is of another class, or elsewhere.$"),
        (dict(name="head", within="Block"), r"matches no module of Net. head is of class GrandLinear\.$"),
        (dict(params="layer1.0.conv.weight"), r"none of their parameters .* Did you mean 'layer1.0.conv1.weight'\?$"),
        (dict(params="re:conv1.weight"), r"none of their parameters \(re:conv1.weight\)\."),
    ],
    ids=str,
)  # fmt: skip
def test_a_mistake_is_an_error_with_the_nearest_name(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(MatchError, match=text) as caught:
        plan(Net(), constant(1, **keys))
    assert caught.value.origin == "init_cfg"
    plan(Net(), constant(1, **keys), unmatched="ignore")


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (dict(within="_InstanceNorm"), "The class exists; this model has none.$"),
        (dict(within="Block", layer=SubLinear), "The model has such layers, but none there.$"),
        (dict(params="*", ndim=">4"), r"ndim='>4'\) matches no parameter of Net: .* has 1, 2, 3 or 4 dimensions.$"),
        (dict(layer="BatchNorm2d", ndim=2), "what the other keys select has 1 dimensions.$"),
        (dict(name="head.weight", ndim=1), "what the other keys select has 2 dimensions.$"),
        (dict(name="head.weight", bias=2), r"bias=2 has no effect, because name= has names of parameters"),
    ],
    ids=str,
)  # fmt: skip
def test_what_may_be_meant_is_a_warning(keys: dict[str, Any], text: str) -> None:
    with pytest.warns(AutoInitWarning, match=text):
        plan(Net(), constant(1, **keys))
    with pytest.raises(MatchError, match=text):
        plan(Net(), constant(1, **keys), unmatched="error")


def test_of_several_models_one_has_to_match() -> None:
    with warnings.catch_warnings(), autoinit([constant(1, name="head.weight"), constant(2, within="Block", ndim=4)]):
        warnings.simplefilter("error")
        nets = Net(), nn.Linear(2, 2)
    assert (nets[0].head.weight == 1).all()


# --- elsewhere ---------------------------------------------------------------------------------------------------


def test_arguments_of_functions_come_first() -> None:
    def shaped_(tensor: torch.Tensor, *, ndim: int, within: float) -> None:
        tensor.fill_(ndim + within)

    layer = nn.Linear(2, 2)
    initialize(layer, dict(type=shaped_, layer="Linear", ndim=1, within=0.5))
    assert (layer.weight == 1.5).all()
    initialize(layer, dict(type=nn.init.ones_, params="bias", ndim=1))
    assert (layer.weight == 1.5).all() and (layer.bias == 1).all()


def test_coverage_and_descriptions_know_them() -> None:
    norms = constant(0, within=Block, name="**.norm1", params="weight")
    cfg = [constant(1, name="**"), norms, constant(2, name="cls_token")]
    assert plan(Net(), cfg, require_coverage=True)["layer1.0.norm1.weight"].origin == "init_cfg[1]"
    decided = plan(Net(), cfg)
    assert json.loads(decided.to_json())["parameters"]["cls_token"]["rule"] == "init_cfg[2]"
    described = decided["layer1.0.norm1.weight"].rule
    assert described is not None
    assert described.describe() == "init_cfg[1] (within='Block', name='**.norm1', params='weight')"


def test_files_say_it(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "init.yaml"
    rules = "{type: Constant, val: 1, params: '*', ndim: '>1', within: [Block]}", "{type: Constant, val: 2, ndim: 4}"
    file.write_text("\n".join(f"- {rule}" for rule in rules))
    found = given(str(file))
    assert found["layer1.0.conv1.weight"] == 2 and found["layer1.0.attn.proj.weight"] == 1
    assert "head.weight" not in found
