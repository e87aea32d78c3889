"""The plan itself: what it says, prints, compares and pickles, and under which names."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from torch import nn

from autoinit import ModuleGraphError, Rule, StateError, plan
from autoinit.initializers import Constant, Normal
from tests.unit.planning.net import Net, constant, values


def test_a_plan_on_meta_is_that_of_the_model_itself() -> None:
    cfg = [dict(type="Kaiming", layer="Conv2d"), dict(type="Normal", layer="Linear", std=0.02)]
    with torch.device("meta"):
        abstract = Net()
    decided = plan(abstract, cfg)
    assert decided == plan(Net(), cfg)
    assert decided != plan(Net(), cfg[:1])
    assert list(decided) == [name for name, _ in Net().named_parameters()]
    net = Net()
    decided.apply(net, seed=1)
    with pytest.raises(StateError, match="meta device"):
        decided.apply(abstract)


def test_a_plan_pickles_prints_and_holds_no_tensors() -> None:
    decided = plan(Net(), [dict(type="Normal", layer="Linear", std=0.02), constant(1, layer="BatchNorm2d")])
    again = pickle.loads(pickle.dumps(decided))
    assert again == decided
    assert len(pickle.dumps(decided)) < 20_000
    text = str(decided)
    assert text.splitlines()[0] == "Plan of Net"
    assert "Normal(mean=0, std=0.02)" in text and "init_cfg[0]" in text
    assert text.splitlines()[-1] == "14 of 21 parameters covered"
    assert "init_cfg[1]" in str(decided.summary())
    assert repr(decided) == "Plan(Net: 21 parameters, 7 uncovered, 0 steps)"


def test_rules_as_objects_and_mixed_with_dicts() -> None:
    rule = Rule(
        initializer=Normal(std=0.02),
        layer="Linear",
        bias=None,
        override=[Rule(initializer=Constant(val=3), name="head", origin="mine")],
    )
    decided = plan(Net(), [rule, constant(1, layer="Conv2d")])
    assert decided["head.weight"].origin == "mine"
    assert decided["layer1.0.attn.proj.weight"].fill.std == 0.02  # type: ignore[union-attr]
    assert decided["layer1.0.attn.proj.bias"].fill is None


@pytest.mark.parametrize("wrapper", ["compiled", "parallel"])
def test_wrappers_add_nothing_to_fqns(wrapper: str) -> None:
    net = Net()
    wrapped = torch.compile(net, backend="eager") if wrapper == "compiled" else nn.DataParallel(net)
    cfg = constant(1, layer="Conv2d", override=constant(2, name="head"))
    assert list(plan(wrapped, cfg)) == list(plan(net, cfg))  # type: ignore[arg-type]
    assert values(wrapped, cfg) == values(net, cfg)  # type: ignore[arg-type]


test_wrappers_add_nothing_to_fqns = pytest.mark.compiles(test_wrappers_add_nothing_to_fqns)


def test_a_child_called_module_is_part_of_the_name() -> None:
    net = nn.Module()
    net.module = nn.Linear(1, 1)
    assert list(plan(net)) == ["module.weight", "module.bias"]


def test_a_list_of_parameters_may_be_the_model() -> None:
    for model in (
        nn.ParameterList([nn.Parameter(torch.ones(2))]),
        nn.ParameterDict({"0": nn.Parameter(torch.ones(2))}),
    ):
        decided = plan(model, dict(type="Normal", params="*", name=""))
        assert list(decided) == ["0"] and decided["0"].rule is not None


def test_a_summary_counts_what_each_rule_has_won_and_lost() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    decided = plan(model, [dict(type="Xavier", layer="Linear"), dict(type="Constant", name="2", val=0)])
    assert decided.summary().rows == [
        ("init_cfg[0]", "Xavier()", "2", "20", "2"),
        ("init_cfg[1]", "Constant(val=0.0)", "2", "10", ""),
        ("(no rule)", "", "2", "8", ""),
    ]


def test_rules_stand_in_a_summary_as_they_stand_in_the_config() -> None:
    names = [f"layer{number}" for number in range(12)]
    model = nn.ModuleDict({name: nn.Linear(1, 1) for name in reversed(names)})
    decided = plan(model, [dict(type="Constant", name=name, val=0) for name in names])
    assert [row[0] for row in decided.summary().rows] == [f"init_cfg[{number}]" for number in range(12)]


def test_what_has_no_shape_yet_has_no_values() -> None:
    decided = plan(nn.Sequential(nn.LazyLinear(3)), dict(type="Normal", layer="Linear"))
    assert (decided["0.weight"].shape, decided["0.weight"].numel) == (None, 0)


def test_a_plan_is_data_for_machines() -> None:
    decided = plan(nn.Sequential(nn.Linear(2, 3), nn.PReLU()), dict(type="Constant", val=2, layer="Linear"))
    read = json.loads(decided.to_json())
    assert read == decided.to_dict() and read["model"] == "Sequential" and read["loads"] == []
    assert read["parameters"]["0.weight"]["fill"] == repr(decided["0.weight"].fill)
    assert read["parameters"]["1.weight"]["rule"] is None
    assert "outcome" not in read["parameters"]["0.weight"], "nothing has been done yet"


def test_a_rule_that_loses_need_not_be_defined() -> None:
    assert values(Net(), [dict(type="Kaiming", name="layer2.0.norm1"), constant(1, layer="BatchNorm2d")])


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
