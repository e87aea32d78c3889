"""What rules select and which wins, beside what `tests/contracts/test_precedence_oracle.py` draws at random."""

from __future__ import annotations

import json
import pathlib
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import AutoInitError, AutoInitWarning, autoinit, initialize, plan
from autoinit.planning import Entry
from tests.models import Around
from tests.unit.planning.net import Net, constant, values
from tests.zoo.operators import torchvision_operators


def given(cfg: object, model: nn.Module | None = None) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return values(model if model is not None else Net(), cfg)


def decision(entry: Entry) -> tuple[object, str, list[str]]:
    """The value, the rule, and the rules that lost."""
    return getattr(entry.fill, "mean", None), entry.origin, [rule.origin for rule in entry.overrides]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (dict(within="tests.models.SubSubLinear"), {"head.weight": 1.0, "head.bias": 0.0}),
        (dict(params="layer2.*.conv1.*", bias=3), {"layer2.0.conv1.weight": 1.0, "layer2.0.conv1.bias": 3.0}),
        (dict(override=dict(name="layer1.0.norm")), {"layer1.0.norm1.weight": 1.0, "layer1.0.norm1.bias": 0.0}),
        (dict(override=dict(name="layer1.0.attn")), {"layer1.0.attn.proj.weight": 1.0, "layer1.0.attn.proj.bias": 0.0}),
        (dict(params="cls_token"), {"cls_token": 1.0}),
    ],
    ids=str,
)
def test_selections_that_the_oracle_does_not_draw(keys: dict[str, Any], expected: dict[str, float]) -> None:
    assert given(constant(1, **keys)) == expected


def test_zero_init_residual_of_torchvision() -> None:
    torchvision_operators()
    import torchvision

    cfg = constant(0, within="BasicBlock", name="**.bn2", params="weight")
    decided = given(cfg, torchvision.models.resnet18())
    published = torchvision.models.resnet18(zero_init_residual=True)
    assert set(decided) == {
        name for name, param in published.named_parameters() if not param.any() and "weight" in name
    }


def test_more_than_one_dimension_as_detr_and_the_annotated_transformer_say() -> None:
    model = nn.Transformer(8, 2, 1, 1, 16)
    decided = plan(model, dict(type="Xavier", distribution="uniform", params="*", ndim=">1"))
    assert {fqn for fqn, entry in decided.items() if entry.rule} == {
        name for name, param in model.named_parameters() if param.dim() > 1
    }


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


def test_a_lazy_parameter_has_a_name() -> None:
    with autoinit(constant(1, name="1.weight")):
        model = lazy()
    model(torch.zeros(1, 4, 5))
    assert (model[1].weight == 1).all() and not (model[1].bias == 1).any()


def test_of_several_models_one_has_to_match() -> None:
    with warnings.catch_warnings(), autoinit([constant(1, name="head.weight"), constant(2, within="Block", ndim=4)]):
        warnings.simplefilter("error")
        nets = Net(), nn.Linear(2, 2)
    assert (nets[0].head.weight == 1).all()


def test_arguments_of_functions_come_first() -> None:
    def shaped_(tensor: torch.Tensor, *, ndim: int, within: float) -> None:
        tensor.fill_(ndim + within)

    layer = nn.Linear(2, 2)
    initialize(layer, dict(type=shaped_, layer="Linear", ndim=1, within=0.5))
    assert (layer.weight == 1.5).all()
    initialize(layer, dict(type=nn.init.ones_, params="bias", ndim=1))
    assert (layer.weight == 1.5).all() and (layer.bias == 1).all()


@pytest.mark.parametrize("layer", ["Module", "elsewhere.Linear"])
def test_layer_is_not_nn_module_nor_a_namesake_elsewhere(layer: str) -> None:
    assert not values(Net(), constant(1, layer=layer), unmatched="ignore")


def test_p1_the_last_that_matches_wins_and_overrides_come_right_after_their_rule() -> None:
    cfg = [constant(1, layer=["Linear", "Conv2d"], override=constant(2, name="head")), constant(3, layer="Conv2d")]
    decided = plan(Net(), cfg)
    assert decision(decided["head.weight"]) == (2.0, "init_cfg[0].override", ["init_cfg[0]"])
    assert decision(decided["layer1.0.conv1.weight"]) == (3.0, "init_cfg[1]", ["init_cfg[0]"])
    with pytest.warns(AutoInitWarning, match=r"init_cfg\[0\].override loses head.weight to init_cfg\[1\]"):
        assert values(Net(), [cfg[0], constant(3, layer="Linear")])["head.weight"] == 3.0


def test_p2_a_childs_own_init_cfg_beats_its_parents_at_any_depth() -> None:
    net = Net()
    net.init_cfg = constant(2, layer="Linear")
    net.layer2[0].init_cfg = [constant(3, layer="Linear"), constant(4, layer="BatchNorm2d")]
    decided = plan(net, constant(1, layer=["Linear", "Conv2d"]))
    expected = (3.0, "layer2.0.init_cfg[0]", ["init_cfg", "Net.init_cfg"])
    assert decision(decided["layer2.0.attn.proj.weight"]) == expected
    assert decision(decided["head.weight"]) == (2.0, "Net.init_cfg", ["init_cfg"])
    assert decision(decided["layer2.0.conv1.weight"]) == (1.0, "init_cfg", [])
    found = values(net, constant(1, override=constant(5, name="layer2")))  # Without a warning.
    assert found["layer2.0.attn.proj.weight"] == 3.0


def test_a_class_attribute_is_an_init_cfg_and_other_things_of_that_name_are_not() -> None:
    class Configured(nn.Linear):
        init_cfg = constant(6, layer="Linear")

    class Unrelated(nn.Linear):
        init_cfg = "a path, say"

    assert values(Configured(1, 1), None)["weight"] == 6.0
    assert not values(Unrelated(1, 1), None)


def test_in_a_modules_own_config_names_begin_at_it() -> None:
    head = Around(dict(fc=nn.Linear(2, 2), out=nn.Linear(2, 2)))
    head.init_cfg = [constant(1, name="fc.weight"), constant(2, params="fc.bias"), constant(3, name="out", bias=None)]
    assert given(None, Around(dict(head=head, out=nn.Linear(2, 2)))) == {
        "head.fc.weight": 1.0,
        "head.fc.bias": 2.0,
        "head.out.weight": 3.0,
    }


def test_p4_pretrained_beats_all_but_its_own_overrides_and_the_outermost_wins(tmp_path: pathlib.Path) -> None:
    def pretrained(value: float, **keys: Any) -> dict[str, Any]:
        torch.save({name: torch.full_like(p, value) for name, p in model.state_dict().items()}, tmp_path / f"{value}")
        return dict(type="Pretrained", checkpoint=str(tmp_path / f"{value}"), **keys)

    model = nn.Sequential(Net())
    model[0].init_cfg = [pretrained(3.0, prefix="0"), constant(5, layer="Linear")]
    report = initialize(model, constant(1, layer="Linear"))
    assert decision(report["0.head.weight"]) == (None, "0.init_cfg[0]", ["init_cfg", "0.init_cfg[1]"])
    assert report["0.head.weight"].outcome == "filled" and (model[0].head.weight == 3).all()
    initialize(model, [pretrained(4.0, override=constant(9, name="0.layer2")), constant(1, layer="Linear")])
    assert (model[0].head.weight == 4).all() and (model[0].layer2[0].conv1.weight == 9).all()
    assert (model[0].layer1[0].norm1.running_mean == 4).all(), "buffers are loaded, too"
    model[0].layer1[0].init_cfg = pretrained(6.0, prefix="0.layer1.0")
    initialize(model)
    assert (model[0].layer1[0].conv1.weight == 3).all(), "of nested modules with a checkpoint the outer one wins"
