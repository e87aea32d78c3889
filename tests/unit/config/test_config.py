"""From what users write to rules: containers, files, `type`, bias, overrides. Texts of errors: test_messages.py."""

from __future__ import annotations

import copy
import functools
import json
import math
import os
import re
import warnings
from collections import OrderedDict, UserDict, UserList
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from mmengine.model import BaseInit as TheirBaseInit
from mmengine.model import KaimingInit as TheirKaimingInit
from omegaconf import ListConfig, OmegaConf
from torch import Tensor, nn

from autoinit.config import bias_init_with_prob, parse_config
from autoinit.config.files import LARGEST
from autoinit.errors import AutoInitWarning, ConfigError, ConfigTypeError
from autoinit.initializers import Constant, Function, Kaiming, ModuleFunction, Normal, Pretrained, Uniform, Xavier
from autoinit.rules import UNSET, Rule


def spelled(value: object) -> str:
    """A value as a test's id: without addresses, which differ between the processes of pytest-xdist."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


INF = math.inf

FULL = [
    dict(type="Kaiming", layer=["Conv2d", "Linear"], mode="fan_in", bias=0.5),
    dict(
        type="Normal",
        layer="Linear",
        std=0.02,
        bias_prob=0.01,
        override=[dict(name="head"), dict(type="Constant", name=["a", "b.*"], val=1, params="weight")],
    ),
    dict(type="TruncNormal", name="**.attn", params=["*_embed", "weight"]),
]


def only(cfg: object) -> Rule:
    [rule] = parse_config(cfg)
    return rule


# What the keys mean


def test_every_key() -> None:
    kaiming, normal, truncated = parse_config(FULL)
    assert kaiming == Rule(initializer=Kaiming(mode="fan_in"), layer=["Conv2d", "Linear"], bias=0.5)
    bias = -math.log(0.99 / 0.01)
    head = Rule(initializer=Normal(std=0.02), name="head", bias=bias)
    parts = Rule(initializer=Constant(val=1), name=["a", "b.*"], params="weight")
    assert normal == Rule(initializer=Normal(std=0.02), layer="Linear", bias=bias, override=[head, parts])
    assert (truncated.name, truncated.params, truncated.bias) == (("**.attn",), ("*_embed", "weight"), UNSET)


def test_origins() -> None:
    rules = parse_config(FULL)
    assert [rule.origin for rule in rules] == ["init_cfg[0]", "init_cfg[1]", "init_cfg[2]"]
    assert [rule.origin for rule in rules[1].override] == ["init_cfg[1].override[0]", "init_cfg[1].override[1]"]
    single = only(dict(type="Normal", layer="Linear", override=dict(name="a")))
    assert (single.origin, single.override[0].origin) == ("init_cfg", "init_cfg.override")
    assert parse_config(FULL, "backbone.init_cfg")[1].override[0].origin == "backbone.init_cfg[1].override[0]"


@pytest.mark.parametrize("cfg", [None, [], ()])
def test_nothing_is_no_rules(cfg: object) -> None:
    assert parse_config(cfg) == ()


def test_rules_pass_through_and_mix_with_dicts() -> None:
    mine = Rule(initializer=Normal(), layer="Linear", origin="mine")
    assert parse_config(mine) == (mine,)
    assert parse_config([mine, dict(type="Normal", layer="Linear")])[0] is mine
    part = Rule(initializer=Uniform(), name="head")
    assert only(dict(type="Normal", layer="Linear", override=[part])).override == (part,)


@pytest.mark.parametrize(
    ("keys", "bias"),
    [
        ({}, UNSET),
        (dict(bias=0), 0),
        (dict(bias=None), None),
        (dict(bias=2, bias_prob=None), 2),
        (dict(bias=2, bias_prob=0.5), 0.0),
        (dict(bias_prob=0.9), math.log(9)),
    ],
    ids=spelled,
)
def test_biases(keys: dict, bias: object) -> None:
    found = only(dict(type="Normal", layer="Linear", **keys)).bias
    assert found is bias if bias is UNSET or bias is None else found == pytest.approx(bias)


@given(probability=st.floats(1e-12, 1 - 1e-12))
def test_a_sigmoid_of_the_bias_is_the_probability(probability: float) -> None:
    assert 1 / (1 + math.exp(-bias_init_with_prob(probability))) == pytest.approx(probability, rel=1e-6)


@pytest.mark.parametrize(
    ("wrong", "kind", "says"),
    [
        *((wrong, ConfigError, "must lie strictly between 0 and 1") for wrong in (0.0, 1.0, -0.1, 1.5, math.nan, INF)),
        *((wrong, ConfigTypeError, "must be a float, not") for wrong in (1, "0.5", True, None)),
    ],
    ids=spelled,
)
def test_probabilities_are_floats_between_zero_and_one(wrong: object, kind: type[ConfigError], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        bias_init_with_prob(wrong)
    assert type(caught.value) is kind


def test_an_override_inherits_all_or_nothing() -> None:
    overrides = [dict(name="a"), dict(type="Xavier", name="b", layer="Conv2d")]
    with pytest.warns(AutoInitWarning, match=r"^init_cfg\.override\[1\]: 'layer' is ignored in an override"):
        rule = only(dict(type="Xavier", layer="Linear", gain=2, bias=3, params="*", override=overrides))
    inheriting, own = rule.override
    assert inheriting == Rule(initializer=Xavier(gain=2), name="a", bias=3, params="*")
    assert own == Rule(initializer=Xavier(), name="b")


def test_a_rule_that_selects_nothing_is_warned_of() -> None:
    with pytest.warns(AutoInitWarning, match=r"^init_cfg can match nothing: it has neither layer, name, params nor"):
        parse_config(dict(type="Normal"))
    with pytest.warns(AutoInitWarning, match=r"^init_cfg\[1\] can match nothing"):
        parse_config([FULL[0], dict(type="Normal", layer=None)])
    # These say what they are for by themselves.
    parse_config([dict(type="Normal", override=dict(name="a")), dict(type="Pretrained", checkpoint="a.pth")])


# What `type` may be


def fill_ones_(tensor: Tensor, value: float = 1.0) -> None:
    tensor.fill_(value)


class RampInit(TheirBaseInit):
    def __init__(self, top: float = 1.0, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.top = top

    def __call__(self, module: nn.Module) -> None: ...


@pytest.mark.parametrize(
    ("written", "scheme"),
    [
        ("Normal", Normal()),
        ("NormalInit", Normal()),
        ("mmengine.NormalInit", Normal()),
        ("mmcv.cnn.Normal", Normal()),
        (Normal, Normal()),
        (Normal(std=3), Normal(std=3)),
        (TheirKaimingInit, Kaiming()),
        (Pretrained(checkpoint="a.pth"), Pretrained(checkpoint="a.pth")),
        (fill_ones_, Function(function=fill_ones_)),
        (nn.init.orthogonal_, Function(function=nn.init.orthogonal_)),
        (functools.partial(fill_ones_, value=2.0), None),
        (Tensor.zero_, Function(function=Tensor.zero_)),
    ],
    ids=spelled,
)
def test_types(written: object, scheme: object) -> None:
    cfg = dict(type=written) if isinstance(written, Pretrained) else dict(type=written, layer="Linear")
    found = only(cfg).initializer
    assert found == (Function(function=written) if scheme is None else scheme)


def test_arguments_go_to_the_scheme_and_selectors_to_the_rule() -> None:
    rule = only(dict(type=fill_ones_, layer="Linear", name="a", params="weight", value=2.0))
    assert rule == Rule(
        initializer=Function(function=fill_ones_, arguments={"value": 2.0}), layer="Linear", name="a", params="weight"
    )
    assert only(dict(type="Pretrained", checkpoint="a", prefix="b")).initializer == Pretrained(
        checkpoint="a", prefix="b"
    )


def test_initializers_of_whole_modules_get_their_layer_and_bias_themselves() -> None:
    rule = only(dict(type=RampInit, layer="Linear", top=2.0, bias=3))
    assert isinstance(rule.initializer, ModuleFunction)
    made = rule.initializer.function
    assert (made.top, made.layer, made.bias) == (2.0, ["Linear"], 3)
    assert (rule.layer, rule.bias) == ((), UNSET)
    ready = RampInit(layer="Conv2d")
    assert only(dict(type=ready)).initializer.function is ready
    with pytest.raises(ConfigTypeError, match=r"^init_cfg: RampInit\(.*got an unexpected keyword argument 'tpo'\.$"):
        parse_config(dict(type=RampInit, tpo=2.0))


# Containers

json_values = st.integers(-5, 5) | st.floats(-5, 5) | st.booleans() | st.text("ab.*", max_size=4)
selectors = st.text("abcL.*?", min_size=1, max_size=6).filter(lambda text: not text.startswith("re:"))
some = st.lists(selectors, min_size=1, max_size=3) | selectors


@st.composite
def items(take, nested: bool = True) -> dict:
    """A valid item of numbers, strings and lists, as any file format can hold it."""
    kind = take(st.sampled_from(["Constant", "Normal", "Uniform", "Kaiming", "XavierInit"]))
    arguments = {
        "Constant": dict(val=take(st.floats(-2, 2))),
        "Normal": dict(mean=take(st.integers(-2, 2)), std=take(st.floats(0, 2))),
        "Uniform": dict(a=take(st.floats(-2, 0)), b=take(st.floats(0.5, 2))),
        "Kaiming": dict(mode=take(st.sampled_from(["fan_in", "fan_out"]))),
        "XavierInit": {},
    }[kind]
    item = {"type": kind, **arguments, "bias": take(st.floats(-1, 1))}
    if not nested:
        return {**item, "name": take(some)}
    item |= take(
        st.fixed_dictionaries(
            {"layer": some}, optional={"name": some, "within": some, "ndim": st.sampled_from([1, ">1", [2, "<= 1"]])}
        )
    )
    overrides = take(st.lists(items(nested=False) | st.fixed_dictionaries({"name": some}), max_size=2))
    return {**item, "override": overrides} if overrides else item


configs = st.lists(items(), min_size=1, max_size=3)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def toml_file(cfg: list[dict]) -> str:
    return "\n".join("[[init_cfg]]\n" + "\n".join(f"{key} = {toml(x)}" for key, x in item.items()) for item in cfg)


def yaml_file(cfg: list[dict]) -> str:
    return "init_cfg:\n" + "\n".join(f"- {json.dumps(item)}" for item in cfg)


CONTAINERS: dict[str, Callable[[list[dict]], object]] = {
    "tuple": tuple,
    "OrderedDict": lambda cfg: [OrderedDict(item) for item in cfg],
    "UserDict": lambda cfg: UserList(map(UserDict, cfg)),
    "MappingProxyType": lambda cfg: [MappingProxyType(item) for item in cfg],
    "omegaconf": OmegaConf.create,
    "omegaconf items": lambda cfg: [OmegaConf.create(item) for item in cfg],
    "mmengine": lambda cfg: [ConfigDict(item) for item in cfg],
    "mmengine whole": lambda cfg: ConfigDict(init_cfg=cfg).init_cfg,
}


@given(cfg=configs)
def test_any_container_means_the_same(cfg: list[dict]) -> None:
    expected = parse_config(cfg)
    for make in CONTAINERS.values():
        assert parse_config(make(copy.deepcopy(cfg))) == expected
    assert parse_config(cfg[0]) == expected[:1]


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json", ".toml", ".YAML"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cfg=configs)
def test_any_file_means_the_same(tmp_path: Path, suffix: str, cfg: list[dict]) -> None:
    path = tmp_path / f"rules{suffix}"
    text = {".toml": toml_file, ".json": json.dumps}.get(suffix, yaml_file)(cfg)
    path.write_text(text, encoding="utf-8")
    assert parse_config(path) == parse_config(str(path)) == parse_config(cfg)


@given(cfg=configs)
def test_a_config_is_not_changed_and_its_changes_afterwards_mean_nothing(cfg: list[dict]) -> None:
    for make in (copy.deepcopy, *CONTAINERS.values()):
        given = make(copy.deepcopy(cfg))
        before = copy.deepcopy(given) if not isinstance(given[0], MappingProxyType) else [dict(item) for item in given]
        rules = parse_config(given)
        assert list(given) == list(before)
        for item in given:
            if not isinstance(item, MappingProxyType):
                item["type"] = "Nonsense"
                item["layer"] = []
        assert rules == parse_config(cfg)


def test_lists_inside_arguments_are_copied() -> None:
    values = {"table": [1, {"deep": [2]}], "pair": (3, [4])}
    rule = only(dict(type=lambda tensor, table, pair: None, layer="Linear", **values))
    values["table"][1]["deep"].append(5)
    values["pair"][1].append(6)
    assert rule.initializer.arguments == {"table": [1, {"deep": [2]}], "pair": (3, [4])}


def test_what_is_no_container_is_handed_over_itself() -> None:
    tensor, generator, raw = torch.ones(2), torch.Generator(), bytearray(b"ab")
    rule = only(dict(type=lambda tensor, **kwargs: None, layer="Linear", t=tensor, g=generator, r=raw, s=range(3)))
    arguments = rule.initializer.arguments
    assert arguments["t"] is tensor
    assert arguments["g"] is generator
    assert arguments["r"] is raw
    assert arguments["s"] == range(3)


def test_configs_of_omegaconf_are_resolved_and_plain() -> None:
    cfg = OmegaConf.create(dict(width=0.5, init=[dict(type="Normal", layer=["Linear"], std="${width}")]))
    assert isinstance(cfg.init, ListConfig)
    assert only(cfg.init) == Rule(initializer=Normal(std=0.5), layer="Linear")
    cfg = OmegaConf.create(dict(layer="Linear", table=[1, dict(a=2)], size="${width}", width=7))
    arguments = only({"type": lambda tensor, **kwargs: None, **cfg}).initializer.arguments
    assert arguments == {"table": [1, {"a": 2}], "size": 7, "width": 7}
    assert type(arguments["table"]) is list
    assert type(arguments["table"][1]) is dict


@pytest.mark.parametrize(
    ("cfg", "origin"),
    [
        (dict(type="Normal", layer="???"), "init_cfg.layer"),
        (dict(type="Normal", layer="Linear", std="${nope}"), "init_cfg.std"),
        ([dict(type="Normal", layer=["${nope.x}"])], "init_cfg[0].layer[0]"),
        ([dict(type="Normal", layer="Linear", override=[dict(name="???")])], "init_cfg[0].override[0].name"),
    ],
    ids=spelled,
)
def test_what_omegaconf_cannot_resolve(cfg: object, origin: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(OmegaConf.create(cfg))
    assert caught.value.origin == origin
    assert str(caught.value).startswith(f"{origin}: ")
    assert "\n" not in str(caught.value)
    assert type(caught.value.__cause__).__module__.startswith("omegaconf")


@pytest.mark.parametrize(
    "cfg",
    [5, 1.5, True, b"rules.yaml", {"a"}, object(), (x for x in []), nn.Linear(1, 1), Normal(), Normal],
    ids=spelled,
)
def test_what_is_no_config(cfg: object) -> None:
    with pytest.raises(
        ConfigTypeError, match=r"^init_cfg: a config is a dict, a list of dicts, or the path of a file, not"
    ):
        parse_config(cfg)


def test_a_config_that_contains_itself() -> None:
    endless: list = []
    endless.append(endless)
    with pytest.raises(ConfigError, match=r"^init_cfg: a list or dict in it contains itself\.$"):
        parse_config(endless)


class Strict(Mapping):
    """A mapping that is no dict and cannot be changed."""

    def __init__(self, **content: object) -> None:
        self.content = content

    def __getitem__(self, key: str) -> object:
        return self.content[key]

    def __iter__(self):
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


def test_any_mapping_is_a_dict() -> None:
    strict, plain = (cls(type="Uniform", name="a") for cls in (Strict, dict))
    rule = only(Strict(type="Normal", layer="Linear", std=2, override=strict))
    assert rule == only(dict(type="Normal", layer="Linear", std=2, override=plain))


# Files


@pytest.fixture
def parse(tmp_path: Path) -> Callable[..., tuple[Rule, ...]]:
    def write_and_parse(text: str, suffix: str = ".yaml") -> tuple[Rule, ...]:
        path = tmp_path / f"rules{suffix}"
        path.write_text(text, encoding="utf-8")
        return parse_config(path)

    return write_and_parse


Parse = Callable[..., tuple[Rule, ...]]


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".yaml", "type: Normal\nlayer: Linear\nstd: 0.02\n"),
        (".yaml", "- {type: Normal, layer: Linear, std: 0.02}"),
        (".yaml", "init_cfg: {type: Normal, layer: Linear, std: 0.02}\nother: ignored\n"),
        (".yaml", "# a comment\ninit_cfg:\n  - type: Normal\n    layer: [Linear]\n    std: 2e-2\n"),
        (".json", '{"type": "Normal", "layer": "Linear", "std": 0.02}'),
        (".json", '\ufeff[{"type": "Normal", "layer": "Linear", "std": 2e-2}]'),
        (".toml", 'type = "Normal"\nlayer = "Linear"\nstd = 0.02\n'),
        (".toml", '\ufeff[[init_cfg]]\ntype = "Normal"\nlayer = ["Linear"]\nstd = 2e-2\n'),
    ],
)
def test_a_file_holds_a_rule_or_a_list_at_its_top_or_under_init_cfg(
    parse: Parse, tmp_path: Path, suffix: str, text: str
) -> None:
    assert parse(text, suffix) == (Rule(initializer=Normal(std=0.02), layer="Linear"),)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        assert only(f"~/rules{suffix}").initializer == Normal(std=0.02)


def test_rules_of_a_file_name_it(parse: Parse) -> None:
    assert parse("type: Normal\nlayer: a")[0].origin == "rules.yaml: init_cfg"
    assert (
        parse("[{type: Normal, layer: a, override: {name: b}}]")[0].override[0].origin
        == "rules.yaml: init_cfg[0].override"
    )
    with pytest.raises(ConfigError, match=r"^rules\.toml: init_cfg\[0\]\.type: no initializer named 'X'"):
        parse('[[init_cfg]]\ntype = "X"', ".toml")


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("1e-3", 1e-3),
        ("1E-3", 1e-3),
        ("1e3", 1e3),
        ("1e+3", 1e3),
        ("+1.5e2", 150.0),
        ("-1e0", -1.0),
        (".5e-1", 0.05),
        ("5.e1", 50.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("7", 7.0),
        ("010", 8.0),
        ("0x10", 16.0),
    ],
)
def test_numbers_in_yaml(parse: Parse, number: str, value: float) -> None:
    assert parse(f"{{type: Constant, layer: Linear, val: {number}}}")[0].initializer == Constant(val=value)


@pytest.mark.parametrize("text", ["'1e-3'", "e3", "1e", "1e3x", "--1e3"])
def test_what_is_no_number_in_yaml(parse: Parse, text: str) -> None:
    import yaml

    with pytest.raises(ConfigTypeError, match="must be a number, not str"):
        parse(f"{{type: Constant, layer: Linear, val: {text}}}")
    assert yaml.safe_load("[1e-3, {a: 1, a: 2}]") == ["1e-3", {"a": 2}], "the loader of others is as it was"


def test_anchors_and_merge_keys(parse: Parse) -> None:
    text = """
        defaults: &small {type: Normal, std: 0.01, bias: 1}
        wide: &wide {std: 0.5}
        init_cfg:
          - {<<: *small, layer: Linear}
          - {<<: *small, layer: Conv2d, std: 0.02}
          - {std: 0.03, <<: *small, layer: Conv1d}
          - {<<: [*wide, *small], layer: Conv3d}
          - {type: Constant, val: 1, layer: &layers [LayerNorm, GroupNorm]}
          - {type: Constant, val: 2, layer: *layers}
    """
    rules = parse(text)
    assert [rule.initializer.std for rule in rules[:4]] == [0.01, 0.02, 0.03, 0.5]
    assert [rule.bias for rule in rules[:4]] == [1] * 4
    assert rules[4].layer == rules[5].layer == ("LayerNorm", "GroupNorm")


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)
MERGED_LAUGHS = "a0: &a0 {k: v}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 10)}]}}\n" for level in range(1, 12)
)


@pytest.mark.parametrize("laughs", [LAUGHS, MERGED_LAUGHS], ids=["lists", "merge keys"])
@pytest.mark.parametrize("used", ["*a11", "0.5"])
def test_a_billion_laughs_are_refused_at_once(parse: Parse, laughs: str, used: str) -> None:
    with pytest.raises(ConfigError, match=r"its aliases stand for more than 100,000 values\.$"):
        parse(f"{laughs}init_cfg: [{{type: Normal, layer: Linear, std: {used}}}]")


def test_an_alias_of_something_large_may_be_used_now_and_then(parse: Parse) -> None:
    layers = ", ".join(f"Layer{number}" for number in range(LARGEST // 20))
    text = f"layers: &layers [{layers}]\ninit_cfg:\n" + "- {type: Normal, layer: *layers}\n" * 10
    assert len(parse(text)[9].layer) == LARGEST // 20


SYNTAX = [
    (".yaml", "{type: Normal, type: Uniform}", "key 'type' is written twice in one mapping; remove one of them."),
    (".yaml", "- {type: Normal, layer: a, override: {name: b, name: c}}", "key 'name' is written twice"),
    (".yaml", "{type: Normal, layer: Linear, std: 1, 'std': 2}", "key 'std' is written twice"),
    (".json", '{"type": "Normal", "type": "Uniform"}', "key 'type' is written twice"),
    (".json", '[{"type": "Normal", "override": {"name": "a", "name": "b"}}]', "key 'name' is written twice"),
    (".toml", 'type = "Normal"\ntype = "Uniform"', "Cannot overwrite a value"),
    (".yaml", "type: [", "not YAML that a config may use: "),
    (".yaml", "a: 1\n---\nb: 2", "not YAML that a config may use: expected a single document"),
    (
        ".yaml",
        "type: !!python/object/apply:os.system [echo]",
        "not YAML that a config may use: could not determine a con",
    ),
    (".yaml", "type: !!python/name:os.system", "not YAML that a config may use: could not determine a constructor"),
    (
        ".yaml",
        "type: !Normal {}",
        "not YAML that a config may use: could not determine a constructor for the tag '!Normal'",
    ),
    (".yaml", "? {a: 1}\n: b", "a key must be a string: unhashable type: 'dict'"),
    (".yaml", "? [a]\n: b", "a key must be a string: unhashable type: 'list'"),
    (".yaml", "std: !!timestamp soon", "a value is not of the type that its tag says"),
    (".yaml", "std: !!bool maybe", "a value is not of the type that its tag says"),
    (".yaml", "std: !!int ''", "a value is not of the type that its tag says"),
    (".yaml", "std: !!int x", "invalid literal for int()"),
    (".yaml", "std: 2001-99-99", "month must be in 1..12"),
    (".yaml", "a: &a [*a]", "not YAML that a config may use: found unconstructable recursive node"),
    (".yaml", "[" * 5000, "maximum recursion depth exceeded"),
    (".json", "[" * 100_000, "maximum recursion depth exceeded"),
    (".toml", "a = " + "[" * 20_000, ""),
    (".json", "{", "Expecting property name"),
    (".toml", "type = ", "Invalid value"),
]


@pytest.mark.parametrize(("suffix", "text", "message"), SYNTAX, ids=[text[:40] for _, text, _ in SYNTAX])
def test_files_that_cannot_be_read(parse: Parse, tmp_path: Path, suffix: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, suffix)
    path = str(tmp_path / f"rules{suffix}")
    assert caught.value.origin == path
    assert str(caught.value).startswith(f"{path}: {message}")
    assert caught.value.__cause__ is not None


def test_no_tag_runs_code(parse: Parse, tmp_path: Path) -> None:
    for tag in ("object/apply:os.mkdir", "object/new:os.mkdir", "object:os.mkdir", "name:os.mkdir", "module:os"):
        with pytest.raises(ConfigError):
            parse(f"!!python/{tag} ['{tmp_path}/made']")
    assert not (tmp_path / "made").exists()


@given(text=st.text("{}[]&*<!:,-?|>'\"%@ \nab1.", max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_whatever_is_in_a_file_is_a_config_or_an_error_of_ours(parse: Parse, text: str) -> None:
    for suffix in (".yaml", ".json", ".toml"):
        origin: str | None = "none is needed"
        try:
            parse(text, suffix)
        except ConfigError as error:
            origin = error.origin
        assert origin


@pytest.mark.parametrize(
    ("suffix", "text"),
    [(".yaml", ""), (".yaml", "init_cfg:"), (".json", "null"), (".json", "5"), (".yaml", "init_cfg: other.yaml")],
)
def test_a_file_without_rules(parse: Parse, suffix: str, text: str) -> None:
    says = rf"^rules\{suffix}: init_cfg: a config is a dict, a list of dicts, or the path of a file, not "
    with pytest.raises(ConfigTypeError, match=says):
        parse(text, suffix)


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for path, origin, message in [
        (tmp_path / "ruels.yaml", None, "No such file or directory. Did you mean 'rules.yaml'?"),
        (tmp_path / "gone" / "rules.yaml", None, "No such file or directory."),
        (tmp_path / "folder.yaml", None, "Is a directory."),
        (tmp_path / "binary.yaml", None, "not UTF-8 text: 'utf-8' codec can't decode byte 0xff"),
        ("Normal", "init_cfg", "'Normal' is not the path of a config file. Use a dict"),
        ("", "init_cfg", "'' is not the path of a config file."),
        ("rules.txt", "init_cfg", "'rules.txt' is not the path of a config file."),
        (Path("rules.py"), "init_cfg", "'rules.py' is not the path of a config file."),
        ("a\0.yaml", "init_cfg", "'a\\x00.yaml' is not a path: embedded null byte"),
        ("~no-such-user/a.yaml", "init_cfg", "'~no-such-user/a.yaml' is not a path: Could not determine home"),
    ]:
        with pytest.raises(ConfigError, match=re.escape(message)) as caught:
            parse_config(path)
        assert caught.value.origin == (origin or os.fspath(path))
        assert str(caught.value).startswith(f"{caught.value.origin}: ")


# Bounds of a truncated normal that truncate nothing.


@pytest.mark.parametrize(
    "rule",
    [
        dict(type="TruncNormal", layer="Linear", std=0.02),
        dict(type="TruncNormalInit", layer="Linear", std=0.39),
        dict(type="TruncNormal", layer="Linear", std=0.1, mean=1),
        dict(type="TruncNormal", layer="Linear", std=0.02, scale=2),
        dict(type="Normal", layer="Linear", override=[dict(name="a"), dict(name="b", type="TruncNormal", std=0.02)]),
    ],
)
def test_default_bounds_that_truncate_nothing_are_warned_of(rule: dict[str, Any]) -> None:
    with pytest.warns(AutoInitWarning, match=r"^init_cfg.*TruncNormal\(.* truncates nothing: .* write cut=2"):
        parse_config(rule)
    parse_config(rule, "head.init_cfg", passed=False)


@pytest.mark.parametrize(
    "rule",
    [
        dict(type="TruncNormal", layer="Linear", std=0.02, cut=2),
        dict(type="TruncNormal", layer="Linear", std=0.02, a=-2, b=2),
        dict(type="TruncNormal", layer="Linear", std=0.02, a=-0.04, b=0.04),
        dict(type="TruncNormal", layer="Linear", std=0.4),
        dict(type="TruncNormal", layer="Linear", std=0.1, mean=1.9),
        dict(type="TruncNormal", layer="Linear", std=0),
        dict(type="TruncNormal", layer="Linear", std="1/sqrt(fan_in)"),
        dict(type="TruncNormal", layer="Linear"),
    ],
)
def test_bounds_that_truncate_are_not(rule: dict[str, Any]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parse_config(rule)
    assert caught == []
