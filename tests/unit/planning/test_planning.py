"""Model x rules -> plan: precedence (P1, P2, P4, P5), selection, what matches nothing, and what cannot be planned."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from autoinit import (
    AutoInitError,
    AutoInitWarning,
    CheckpointError,
    ConfigError,
    ConfigTypeError,
    MatchError,
    ModuleGraphError,
    Rule,
    ShapeError,
    StateError,
    TargetError,
    initialize,
    plan,
)
from autoinit.initializers import Constant, Normal


def constant(value: float, **keys: object) -> dict[str, object]:
    return dict(type="Constant", val=value, **keys)


class SubLinear(nn.Linear):
    pass


class GrandLinear(SubLinear):
    pass


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 2, 3)
        self.norm1 = nn.BatchNorm2d(2)
        self.attn = nn.Module()
        self.attn.proj = nn.Linear(4, 4)

    @property
    def norm(self) -> nn.Module:
        return self.norm1


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(Block(), Block())
        self.layer2 = nn.Sequential(Block())
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.head = GrandLinear(4, 3)


def values(model: nn.Module, cfg: object, **options: object) -> dict[str, float]:
    """What a Constant-only plan gives to each covered parameter."""
    decided = plan(model, cfg, **options)  # type: ignore[arg-type]
    return {fqn: entry.fill.mean for fqn, entry in decided.items() if entry.fill is not None}  # type: ignore[attr-defined]


# --- selection ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer", ["Linear", "SubLinear", "GrandLinear", "torch.nn.Linear", nn.Linear, ["Conv9", nn.Linear]]
)
def test_layer_means_a_class_and_everything_below_it(layer: object) -> None:
    assert "head.weight" in values(Net(), constant(1, layer=layer), unmatched="ignore")


def test_layer_is_not_nn_module_nor_a_namesake_elsewhere() -> None:
    assert not values(Net(), constant(1, layer="Module"), unmatched="ignore")
    assert not values(Net(), constant(1, layer="elsewhere.Linear"), unmatched="ignore")


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


def test_bias_keys() -> None:
    layer = nn.Linear(2, 2)
    assert values(layer, constant(1, layer="Linear")) == {"weight": 1.0, "bias": 0.0}
    assert values(layer, constant(1, layer="Linear", bias=3)) == {"weight": 1.0, "bias": 3.0}
    assert values(layer, constant(1, layer="Linear", bias=None)) == {"weight": 1.0}
    assert values(layer, constant(1, layer="Linear", bias=3, bias_prob=0.5)) == {"weight": 1.0, "bias": 0.0}
    assert values(layer, constant(1, layer="Linear", params="bias")) == {"bias": 1.0}


# --- precedence --------------------------------------------------------------------------------------------------


def test_p1_the_last_that_matches_wins_and_overrides_come_right_after_their_rule() -> None:
    cfg = [constant(1, layer=["Linear", "Conv2d"], override=constant(2, name="head")), constant(3, layer="Conv2d")]
    decided = plan(Net(), cfg)
    head, conv = decided["head.weight"], decided["layer1.0.conv1.weight"]
    assert (head.fill.mean, head.origin, [rule.origin for rule in head.beat]) == (  # type: ignore[union-attr]
        2.0,
        "init_cfg[0].override",
        ["init_cfg[0]"],
    )
    assert (conv.fill.mean, conv.origin, [rule.origin for rule in conv.beat]) == (  # type: ignore[union-attr]
        3.0,
        "init_cfg[1]",
        ["init_cfg[0]"],
    )


def test_a_later_rule_wipes_an_earlier_override_and_the_plan_warns_of_it() -> None:
    cfg = [constant(1, override=constant(2, name="head")), constant(3, layer="Linear")]
    with pytest.warns(AutoInitWarning, match=r"init_cfg\[0\].override loses head.weight to init_cfg\[1\]"):
        assert values(Net(), cfg)["head.weight"] == 3.0


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


def test_an_override_with_a_type_inherits_nothing_and_one_without_inherits_all() -> None:
    rule = dict(type="Constant", val=1, bias=5, layer="Conv2d")
    inherits = values(Net(), dict(rule, override=dict(name="head")))
    alone = values(Net(), dict(rule, override=constant(2, name="head")))
    assert (inherits["head.weight"], inherits["head.bias"]) == (1.0, 5.0)
    assert (alone["head.weight"], alone["head.bias"]) == (2.0, 0.0)


def test_p2_a_childs_own_init_cfg_beats_its_parents_at_any_depth() -> None:
    net = Net()
    net.init_cfg = constant(2, layer="Linear")
    net.layer2[0].init_cfg = [constant(3, layer="Linear"), constant(4, layer="BatchNorm2d")]
    decided = plan(net, constant(1, layer=["Linear", "Conv2d"]))
    assert decided["layer2.0.attn.proj.weight"].fill.mean == 3.0  # type: ignore[union-attr]
    assert [rule.origin for rule in decided["layer2.0.attn.proj.weight"].beat] == ["init_cfg", "Net.init_cfg"]
    assert decided["layer2.0.attn.proj.weight"].origin == "layer2.0.init_cfg[0]"
    assert decided["head.weight"].fill.mean == 2.0  # type: ignore[union-attr]
    assert decided["layer2.0.conv1.weight"].fill.mean == 1.0  # type: ignore[union-attr]


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
    with pytest.warns(AutoInitWarning, match="are one parameter: init_cfg.0. gives"):
        decided = plan(net, [constant(1, name="head"), constant(2, layer="Embedding")])
    assert list(decided) == ["embed.weight"]
    entry = decided["embed.weight"]
    assert entry.aliases == ("head.weight",)
    assert (entry.fill.mean, [rule.origin for rule in entry.beat]) == (2.0, ["init_cfg[0]"])  # type: ignore[union-attr]
    with pytest.warns(AutoInitWarning, match="are one parameter"):
        decided = plan(net, [constant(2, layer="Embedding"), constant(1, name="head")])
    assert decided["head.weight"].fill.mean == 1.0  # type: ignore[union-attr]


def test_a_shared_module_is_reached_by_each_of_its_names() -> None:
    shared = nn.Linear(2, 2)
    net = nn.ModuleDict(dict(a=shared, b=shared))
    decided = plan(net, constant(1, name="b"))
    assert list(decided) == ["a.weight", "a.bias"]
    assert decided["a.weight"].fill.mean == 1.0  # type: ignore[union-attr]
    assert decided["a.weight"].aliases == ("b.weight",)


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
    assert [rule.origin for rule in report["0.head.weight"].beat] == ["init_cfg", "0.init_cfg[1]"]
    pretrained = dict(type="Pretrained", checkpoint=outer, override=constant(9, name="0.layer2"))
    with pytest.warns(AutoInitWarning, match="missing"):
        initialize(model, [pretrained, constant(1, layer="Linear")])
    assert (model[0].head.weight == 4).all()
    assert (model[0].layer2[0].conv1.weight == 9).all()
    assert (model[0].layer1[0].norm1.running_mean == 4).all(), "buffers are loaded, too"


# --- what matches nothing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cfg", "kind", "text"),
    [
        (constant(1, layer="Conv2D"), MatchError, r"\(layer='Conv2D'\) matches no .* mean 'Conv2d' \(3 modules\)\?"),
        (constant(1, layer=["Linear", "Batchnorm2d"]), MatchError, r"layer='Batchnorm2d'.*'BatchNorm2d' \(3 modules\)"),
        (constant(1, layer="Qwerty"), MatchError, "The model has: "),
        (constant(1, name="haed"), MatchError, "matches no module of Net"),
        (constant(1, layer="Linear", params="wieght"), MatchError, "none of their parameters .*Did you mean 'weight'"),
        (constant(1, layer="Linear", params="cls_token"), MatchError, "Other layers .* have it: remove layer="),
        (constant(1, override=dict(name="haed")), TargetError, "no submodule 'haed'. Did you mean 'head'"),
        (constant(1, override=dict(name="layer1.0.cnov1")), TargetError, "Did you mean 'layer1.0.conv1'"),
        (constant(1, override=dict(name="cls_token")), TargetError, "is a Parameter, not a module"),
        (constant(1, override=dict(name="**.nothing")), TargetError, "matches no module"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_an_error_in_a_config_that_was_passed(
    cfg: dict[str, object], kind: type[AutoInitError], text: str
) -> None:
    with pytest.raises(kind, match=text) as caught:
        plan(Net(), cfg)
    assert caught.value.origin is not None
    with pytest.warns(AutoInitWarning, match=text):
        plan(Net(), cfg, unmatched="warn")
    plan(Net(), cfg, unmatched="ignore")


def test_an_existing_class_that_is_absent_is_a_warning_unless_another_of_the_list_is_there() -> None:
    with pytest.warns(AutoInitWarning, match="The class exists; this model has none"):
        plan(Net(), constant(1, layer="_InstanceNorm"))
    plan(Net(), constant(1, layer=["_InstanceNorm", "_BatchNorm"]))
    with pytest.raises(MatchError):
        plan(Net(), constant(1, layer="_InstanceNorm"), unmatched="error")


def test_a_modules_own_typo_is_a_warning() -> None:
    net = Net()
    net.init_cfg = constant(1, layer="Conv2D")
    with pytest.warns(AutoInitWarning, match="Net.init_cfg .*Did you mean 'Conv2d'"):
        plan(net)
    with pytest.raises(MatchError):
        plan(net, unmatched="error")


def test_layers_without_parameters() -> None:
    with pytest.warns(AutoInitWarning, match="none of their parameters"):
        plan(nn.Sequential(nn.ReLU()), constant(1, layer="ReLU"))


def test_a_rule_that_selects_nothing_at_all() -> None:
    with pytest.warns(AutoInitWarning, match="neither layer, name, params nor override"):
        plan(Net(), constant(1))


def test_a_known_config_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decided = plan(
            Net(), [constant(1, layer="Linear"), dict(type="Kaiming", layer="Conv2d", override=dict(name="head"))]
        )
    assert {str(entry.rule.origin) for entry in decided.values() if entry.rule} >= {"init_cfg[1].override"}


# --- what cannot be planned --------------------------------------------------------------------------------------


def test_a_scheme_that_is_not_defined_for_a_shape_names_parameter_layer_and_rule() -> None:
    with pytest.raises(ShapeError) as caught:
        plan(Net(), [constant(1, layer="Linear"), dict(type="Kaiming", layer="BatchNorm2d")])
    assert caught.value.origin == "init_cfg[1]"
    assert caught.value.fqn == "layer1.0.norm1.weight"
    assert "init_cfg[1] (layer='BatchNorm2d'): layer1.0.norm1.weight of BatchNorm2d: Kaiming needs" in str(caught.value)


def test_a_rule_that_loses_need_not_be_defined() -> None:
    assert values(Net(), [dict(type="Kaiming", name="layer2.0.norm1"), constant(1, layer="BatchNorm2d")])


def test_dtypes_that_no_scheme_is_defined_for() -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(2, 2, dtype=torch.int32), requires_grad=False)
    with pytest.raises(ShapeError, match="dtype torch.int32"):
        plan(model, dict(type="Normal", params="weight"))
    model.weight = nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))
    with pytest.raises(ShapeError, match="complex64"):
        plan(model, dict(type="Uniform", params="weight"))
    assert values(model, constant(2, params="weight")) == {"weight": 2.0}


def test_a_module_that_contains_itself() -> None:
    net = nn.Sequential(nn.Linear(1, 1))
    net[0].parent = net
    with pytest.raises(ModuleGraphError, match="contains itself") as caught:
        plan(net, constant(1, layer="Linear"))
    assert caught.value.fqn == "0.parent"


def test_a_module_that_forgot_its_base_class() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            pass

    net = nn.Sequential(nn.Linear(1, 1))
    net._modules["lost"] = Forgetful()
    with pytest.raises(ModuleGraphError, match=r"Forgetful .* lacks super\(\).__init__\(\)"):
        plan(net, constant(1, layer="Linear"))


def test_what_is_no_module_and_no_config() -> None:
    with pytest.raises(ConfigTypeError, match="not a torch.nn.Module"):
        plan("model", [])  # type: ignore[arg-type]
    with pytest.raises(ConfigTypeError, match="a config is a dict"):
        plan(Net(), 3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unmatched='eror' is unknown. Did you mean 'error'"):
        plan(Net(), [], unmatched="eror")  # type: ignore[arg-type]


def test_a_missing_checkpoint_is_found_out_while_planning(tmp_path: Path) -> None:
    net = Net()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(CheckpointError):
        initialize(net, [constant(1, layer="Linear"), dict(type="Pretrained", checkpoint=str(tmp_path / "no.pth"))])
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


# --- the plan itself ---------------------------------------------------------------------------------------------


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


def test_uncovered_and_require_coverage() -> None:
    cfg = constant(1, layer=["Linear", "Conv2d", "BatchNorm2d"])
    assert plan(Net(), cfg).uncovered == ("cls_token",)
    with pytest.raises(MatchError, match="no rule covers 1 parameters: cls_token") as caught:
        plan(Net(), cfg, require_coverage=True)
    assert caught.value.fqn == "cls_token"
    plan(Net(), [cfg, constant(0, params="cls_token")], require_coverage=True)


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
