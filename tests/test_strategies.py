"""The strategies of this suite: what they give makes sense, all that they promise occurs, and it shrinks to little."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

from autoinit import AutoInitWarning, initialize, plan
from autoinit.sampling import check_seed
from tests.strategies import (
    Branch,
    Layer,
    Stage,
    TensorLayout,
    Unit,
    configs,
    layers,
    module_trees,
    schemes,
    seeds,
    tensors,
)

ANY = dict(leaves=layers(dtypes=(torch.float32, torch.bfloat16), parametrized=True), ties=True)


ONCE = settings(max_examples=1000, database=None, derandomize=True, phases=[Phase.generate])
SMALL = settings(max_examples=1000, database=None, derandomize=True, phases=[Phase.generate, Phase.shrink])


def first(strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool]) -> Any:
    """The smallest thing of a strategy that meets a condition."""
    return find(strategy, condition, settings=SMALL)


def names(tree: Branch) -> list[str]:
    return [name for name, _ in tree.build().named_parameters()]


@given(module_trees(**ANY))
def test_a_tree_is_built_as_often_as_one_likes(tree: Branch) -> None:
    one, other = tree.build(), tree.build()
    assert [(name, p.shape, p.dtype) for name, p in one.named_parameters()] == [
        (name, p.shape, p.dtype) for name, p in other.named_parameters()
    ]
    assert not set(map(id, one.modules())) & set(map(id, other.modules()))
    assert not {p.data_ptr() for p in one.parameters()} & {p.data_ptr() for p in other.parameters()} - {0}


@given(st.data())
def test_drawing_leaves_the_generator_where_it_stands(data: st.DataObject) -> None:
    before = torch.get_rng_state()
    data.draw(configs(data.draw(module_trees(**ANY))))
    assert torch.equal(torch.get_rng_state(), before)


@given(st.data())
def test_a_config_can_be_planned_and_each_of_its_rules_is_about_something(data: st.DataObject) -> None:
    tree = data.draw(module_trees(**ANY))
    cfg = data.draw(configs(tree))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* loses .* to |.*are one parameter", AutoInitWarning)
        planned = plan(tree.build(), cfg, unmatched="error")
    about = {
        rule.origin.partition(".")[0]
        for e in planned.values()
        for rule in (*e.overrides, *([e.rule] if e.rule else []))
    }
    assert about == {f"init_cfg[{index}]" for index in range(len(cfg))}


def test_a_model_is_as_good_as_its_description() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    cfg = first(configs(model), lambda cfg: "override" in cfg[0])
    assert cfg == [{"type": "Constant", "val": 0.0, "layer": "Conv2d", "override": {"name": "0"}}]
    assert first(configs(nn.ReLU()), lambda cfg: True) == []
    bias = Branch(Stage, (), (("bias", (2,)),))
    assert first(configs(bias), lambda cfg: True) == [{"type": "Constant", "val": 0.0, "params": "bias"}]


@given(module_trees(init_cfg=st.sampled_from((None, {"type": "Constant", "val": 3.0, "layer": "Linear"}))))
def test_stages_say_what_they_were_given(tree: Branch) -> None:
    said = [part.init_cfg for part in tree.build().modules() if hasattr(part, "init_cfg")]
    assert len(said) == repr(tree).count("init_cfg=")


PARAMETRIZED, FLOATS = layers(parametrized=True), layers(dtypes=(torch.float32, torch.float16))
KINDS = (nn.Linear, nn.MultiheadAttention, nn.LSTM, nn.ConvTranspose2d, nn.Embedding, nn.Bilinear, nn.PReLU)
BRANCHES = (Stage, Unit, nn.Sequential, nn.ModuleList, nn.ModuleDict)
SCHEMES = ("Normal", "Uniform", "TruncNormal", "Kaiming", "Xavier", "LeCun", "Orthogonal", "Eye", "Sparse")
OCCURS: dict[str, tuple[Any, Callable[[Any], bool]]] = {
    "tied parameters": (module_trees(ties=True), lambda tree: any("weight" in source for source, _ in tree.ties)),
    "shared modules": (
        module_trees(ties=True),
        lambda tree: any("weight" not in s and "bias" not in s for s, _ in tree.ties),
    ),
    "weight norm": (PARAMETRIZED, lambda layer: layer.through == "weight_norm"),
    "spectral norm": (PARAMETRIZED, lambda layer: layer.through == "spectral_norm"),
    "another dtype": (FLOATS, lambda layer: ("dtype", torch.float16) in layer.options),
    "own parameters": (module_trees(), lambda tree: len(tree.params) == 2),
    "four levels": (module_trees(), lambda tree: any(name.count(".") == 4 for name in names(tree))),
    "a scalar": (tensors(), lambda tensor: tensor.shape == ()),
    "channels last": (tensors(), lambda tensor: tensor.memory == "channels_last"),
    "a seed of 64 bits": (seeds(), lambda seed: seed == 2**64 - 1),
    "scheme Dirac": (schemes((4, 4, 3)), lambda scheme: scheme["type"] == "Dirac"),
    **{f"layer {kind.__name__}": (layers(), lambda layer, kind=kind: layer.kind is kind) for kind in KINDS},
    **{f"branch {kind.__name__}": (module_trees(), lambda tree, kind=kind: tree.kind is kind) for kind in BRANCHES},
    **{f"scheme {name}": (schemes((4, 4)), lambda each, name=name: each["type"] == name) for name in SCHEMES},
}


@pytest.mark.parametrize(("strategy", "condition"), OCCURS.values(), ids=OCCURS)
def test_what_is_promised_occurs(strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool]) -> None:
    assert condition(find(strategy, condition, settings=ONCE))


SELECTORS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "a class": lambda rule: rule.get("layer") == "Linear",
    "an ancestor": lambda rule: rule.get("layer") == "_ConvNd",
    "several classes": lambda rule: isinstance(rule.get("layer"), list) and len(rule["layer"]) == 3,
    "a name": lambda rule: rule.get("name") == "a.conv",
    "a glob": lambda rule: rule.get("name") == "a.**",
    "a star": lambda rule: rule.get("name") == "*.conv",
    "anywhere": lambda rule: rule.get("name") == "**.conv",
    "a regular expression": lambda rule: str(rule.get("name")).startswith("re:"),
    "names": lambda rule: isinstance(rule.get("name"), list) and len(rule["name"]) == 2,
    "both": lambda rule: "layer" in rule and "name" in rule,
    "parameters": lambda rule: rule.get("params") == "scale",
    "all three": lambda rule: "layer" in rule and "name" in rule and "params" in rule,
    "a bias": lambda rule: rule.get("bias") == -0.5,
    "a bias that is left": lambda rule: "bias" in rule and rule["bias"] is None,
    "a probability": lambda rule: "bias_prob" in rule,
    "overrides": lambda rule: isinstance(rule.get("override"), list) and len(rule["override"]) == 2,
    "an override that inherits": lambda rule: list(rule.get("override", ())) == ["name"],
}


@pytest.mark.parametrize("condition", SELECTORS.values(), ids=SELECTORS)
def test_every_way_to_select_occurs(condition: Callable[[dict[str, Any]], bool]) -> None:
    inner = Branch(Stage, (("conv", Layer(nn.Conv2d, (1, 1, 1))), ("b", Layer(nn.Linear, (2, 2)))), (("scale", (2,)),))
    tree = Branch(Stage, (("a", inner), ("head", Layer(nn.Linear, (2, 1)))))
    assert any(condition(rule) for rule in find(configs(tree), lambda cfg: any(map(condition, cfg)), settings=ONCE))


SMALLEST: dict[str, tuple[Any, Callable[[Any], bool], str]] = {
    "a bias": (module_trees(), lambda tree: any("bias" in name for name in names(tree)), "Sequential(Linear(1, 1))"),
    "a convolution": (
        module_trees(),
        lambda tree: any(isinstance(part, nn.Conv2d) for part in tree.build().modules()),
        "Sequential(Conv2d(1, 1, 1))",
    ),
    "a name": (module_trees(), lambda tree: any("." in name[:2] for name in names(tree)), "Sequential(Linear(1, 1))"),
    "a shared module": (
        module_trees(ties=True),
        lambda tree: len(names(tree)) < sum(1 for _ in tree.build().named_parameters(remove_duplicate=False)) - 1,
        "Sequential(Linear(1, 1), Sequential()).tie('0', '1')",
    ),
    "a parametrized weight": (
        module_trees(leaves=layers(parametrized=True)),
        lambda tree: any(map(parametrize.is_parametrized, tree.build().modules())),
        "Sequential(weight_norm(Linear(1, 1)))",
    ),
}


@pytest.mark.parametrize("case", SMALLEST.values(), ids=SMALLEST)
def test_counterexamples_are_small(case: tuple[st.SearchStrategy[Any], Callable[[Any], bool], str]) -> None:
    strategy, condition, smallest = case
    assert len(repr(first(strategy, condition))) <= len(smallest)


@given(tensors())
def test_tensors_lie_in_memory_as_they_say(layout: TensorLayout) -> None:
    tensor = layout.build(3.0)
    assert (tuple(tensor.shape), tensor.dtype) == (layout.shape, layout.dtype)
    assert (tensor == 3).all()
    assert layout.memory != "offset" or tensor.storage_offset() == 2
    assert layout.memory != "strided" or layout.shape[-1] == 1 or tensor.stride(-1) == 2
    if layout.memory == "channels_last":
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@given(seeds())
def test_torch_takes_the_seeds_as_well(seed: int) -> None:
    assert check_seed(seed) == seed
    torch.Generator().manual_seed(seed)


def test_a_property_that_does_not_hold_is_shown_in_little() -> None:
    def wrong(tree: Branch) -> bool:
        model = tree.build()
        initialize(model, dict(type="Constant", val=1, params="*"), unmatched="ignore")
        return any((p == 0).any() for p in model.parameters())

    assert repr(first(module_trees(), wrong)) == "Sequential(Linear(1, 1))", (
        "biases beside weights have their own value"
    )
