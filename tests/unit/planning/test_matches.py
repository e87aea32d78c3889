"""Which rules a parameter gets: selection by layer, name and params; precedence (P1, P2, P4, P5); what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import (
    AutoInitWarning,
    CheckpointError,
    ConfigError,
    ConfigTypeError,
    ModuleGraphError,
    ShapeError,
    initialize,
    plan,
)
from autoinit.planning import Entry
from tests.unit.planning.net import Net, constant, values


def decision(entry: Entry) -> tuple[object, str, list[str]]:
    """The value, the rule, and the rules that lost."""
    return getattr(entry.fill, "mean", None), entry.origin, [rule.origin for rule in entry.overrides]


# --- selection ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer", ["Linear", "SubLinear", "GrandLinear", "torch.nn.Linear", nn.Linear, ["Conv9", nn.Linear]]
)
def test_layer_means_a_class_and_everything_below_it(layer: object) -> None:
    assert "head.weight" in values(Net(), constant(1, layer=layer), unmatched="ignore")


@pytest.mark.parametrize("layer", ["Module", "elsewhere.Linear"])
def test_layer_is_not_nn_module_nor_a_namesake_elsewhere(layer: str) -> None:
    assert not values(Net(), constant(1, layer=layer), unmatched="ignore")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (dict(name="head"), {"head"}),
        (dict(name="layer1.*.conv1"), {"layer1.0.conv1", "layer1.1.conv1"}),
        (dict(name="layer*.conv1"), set()),
        (dict(name="**.attn.proj"), {"layer1.0.attn.proj", "layer1.1.attn.proj", "layer2.0.attn.proj"}),
        (dict(name="layer2.**"), {"layer2.0.conv1", "layer2.0.norm1", "layer2.0.attn.proj"}),
        (dict(name="layer2.**", layer="Linear"), {"layer2.0.attn.proj"}),
        (dict(name=["head", "layer1.0.norm1"]), {"head", "layer1.0.norm1"}),
        (dict(name=r"re:layer\d\.0\.conv1"), {"layer1.0.conv1", "layer2.0.conv1"}),
    ],
)
def test_name_is_a_glob_over_module_fqns(selector: dict[str, object], expected: set[str]) -> None:
    found = values(Net(), constant(1, **selector), unmatched="ignore")
    assert {fqn.rpartition(".")[0] for fqn in found} == expected


def test_params_reach_what_weight_and_bias_do_not() -> None:
    assert values(Net(), constant(1, params="cls_token")) == {"cls_token": 1.0}
    mha = nn.MultiheadAttention(4, 2)
    assert values(mha, constant(1, params="in_proj_*")) == {"in_proj_weight": 1.0, "in_proj_bias": 1.0}
    everything = values(mha, constant(1, params="*"))
    assert everything["out_proj.weight"] == 1.0
    assert everything["out_proj.bias"] == 0.0, "a bias beside a weight has its own value"


# --- precedence --------------------------------------------------------------------------------------------------


def test_p1_the_last_that_matches_wins_and_overrides_come_right_after_their_rule() -> None:
    cfg = [constant(1, layer=["Linear", "Conv2d"], override=constant(2, name="head")), constant(3, layer="Conv2d")]
    decided = plan(Net(), cfg)
    assert decision(decided["head.weight"]) == (2.0, "init_cfg[0].override", ["init_cfg[0]"])
    assert decision(decided["layer1.0.conv1.weight"]) == (3.0, "init_cfg[1]", ["init_cfg[0]"])
    with pytest.warns(AutoInitWarning, match=r"init_cfg\[0\].override loses head.weight to init_cfg\[1\]"):
        assert values(Net(), [cfg[0], constant(3, layer="Linear")])["head.weight"] == 3.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("head", {"head"}),
        ("layer2", {"layer2.0.conv1", "layer2.0.norm1", "layer2.0.attn.proj"}),
        ("layer1.0.norm", {"layer1.0.norm1"}),
        ("layer1.1.attn", {"layer1.1.attn.proj"}),
        ("**.attn", {"layer1.0.attn.proj", "layer1.1.attn.proj", "layer2.0.attn.proj"}),
        (["head", "layer1.0.conv1"], {"head", "layer1.0.conv1"}),
    ],
)
def test_an_override_is_for_its_target_and_all_below(name: object, expected: set[str]) -> None:
    found = values(Net(), constant(1, override=dict(name=name)))
    assert {fqn.rpartition(".")[0] for fqn in found} == expected


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


def test_p5_a_tied_parameter_is_filled_once_by_the_winner_over_all_its_names() -> None:
    net = nn.Module()
    net.embed, net.head = nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)
    net.head.weight = net.embed.weight
    rules = [constant(1, name="head"), constant(2, layer="Embedding")]
    for first, second in (rules, rules[::-1]):
        with pytest.warns(AutoInitWarning, match="are one parameter: init_cfg.0. gives"):
            decided = plan(net, [first, second])
        assert list(decided) == ["embed.weight"] and decided["embed.weight"].aliases == ("head.weight",)
        assert decision(decided["head.weight"]) == (second["val"], "init_cfg[1]", ["init_cfg[0]"])


def test_a_shared_module_is_reached_by_each_of_its_names() -> None:
    shared = nn.Linear(2, 2)
    net = nn.ModuleDict(dict(a=shared, b=shared))
    decided = plan(net, constant(1, name="b"))
    assert list(decided) == ["a.weight", "a.bias"] and decided["a.weight"].aliases == ("b.weight",)
    assert decision(decided["a.weight"]) == (1.0, "init_cfg", [])


def test_p4_pretrained_beats_all_but_its_own_overrides_and_the_outermost_wins(tmp_path: Path) -> None:
    def save(value: float) -> str:
        path = tmp_path / f"{value}.pth"
        torch.save({name: torch.full_like(p, value) for name, p in nn.Sequential(Net()).state_dict().items()}, path)
        return str(path)

    inner, outer = save(3.0), save(4.0)
    torch.save({"head.weight": torch.full((3, 4), 3.0), "head.bias": torch.full((3,), 3.0)}, inner)
    model = nn.Sequential(Net())
    model[0].init_cfg = [dict(type="Pretrained", checkpoint=inner), constant(5, layer="Linear")]
    with pytest.warns(AutoInitWarning, match="2 loaded; 25 missing"):
        report = initialize(model, constant(1, layer="Linear"))
    assert (model[0].head.weight == 3).all()
    assert report["0.head.weight"].outcome == "filled"
    assert [rule.origin for rule in report["0.head.weight"].overrides] == ["init_cfg", "0.init_cfg[1]"]
    pretrained = dict(type="Pretrained", checkpoint=outer, override=constant(9, name="0.layer2"))
    with pytest.warns(AutoInitWarning, match="missing"):
        initialize(model, [pretrained, constant(1, layer="Linear")])
    assert (model[0].head.weight == 4).all()
    assert (model[0].layer2[0].conv1.weight == 9).all()
    assert (model[0].layer1[0].norm1.running_mean == 4).all(), "buffers are loaded, too"


# --- what cannot be planned --------------------------------------------------------------------------------------


def test_a_scheme_that_is_not_defined_for_a_shape_names_parameter_layer_and_rule() -> None:
    with pytest.raises(ShapeError) as caught:
        plan(Net(), [constant(1, layer="Linear"), dict(type="Kaiming", layer="BatchNorm2d")])
    assert caught.value.origin == "init_cfg[1]"
    assert caught.value.fqn == "layer1.0.norm1.weight"
    assert "init_cfg[1] (layer='BatchNorm2d'): layer1.0.norm1.weight of BatchNorm2d: Kaiming needs" in str(caught.value)


def test_a_rule_that_loses_need_not_be_defined() -> None:
    assert values(Net(), [dict(type="Kaiming", name="layer2.0.norm1"), constant(1, layer="BatchNorm2d")])


@pytest.mark.parametrize(("dtype", "kind"), [(torch.int32, "Normal"), (torch.complex64, "Uniform")])
def test_dtypes_that_no_scheme_is_defined_for(dtype: torch.dtype, kind: str) -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(2, 2, dtype=dtype), requires_grad=False)
    with pytest.raises(ShapeError, match=str(dtype)):
        plan(model, dict(type=kind, params="weight"))
    assert not dtype.is_complex or values(model, constant(2, params="weight")) == {"weight": 2.0}


class Forgetful(nn.Module):
    def __init__(self) -> None:
        pass


@pytest.mark.parametrize("mistake", ["contains itself", r"Forgetful .* lacks super\(\).__init__\(\)"])
def test_a_model_that_is_not_a_tree(mistake: str) -> None:
    net = nn.Sequential(nn.Linear(1, 1))
    net[0]._modules["part"] = net if mistake == "contains itself" else Forgetful()
    with pytest.raises(ModuleGraphError, match=mistake) as caught:
        plan(net, constant(1, layer="Linear"))
    assert caught.value.fqn == "0.part"


@pytest.mark.parametrize(
    ("args", "keys", "error", "message"),
    [
        (("model", []), {}, ConfigTypeError, "not a torch.nn.Module"),
        ((nn.Linear(1, 1), 3), {}, ConfigTypeError, "a config is a dict"),
        ((nn.Linear(1, 1), []), dict(unmatched="eror"), ConfigError, "unmatched='eror' is unknown. Did you mean 'err"),
    ],
)
def test_what_is_no_module_no_config_and_no_option(args: Any, keys: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        plan(*args, **keys)


def test_a_missing_checkpoint_is_found_out_while_planning(tmp_path: Path) -> None:
    net = Net()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(CheckpointError):
        initialize(net, [constant(1, layer="Linear"), dict(type="Pretrained", checkpoint=str(tmp_path / "no.pth"))])
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
