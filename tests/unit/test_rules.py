"""What a rule is, what it gives to which parameter name, and what it refuses."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from torch import nn

from autoinit.errors import ConfigError, ConfigTypeError
from autoinit.initializers import Constant, Initializer, ModuleFunction, Normal, Pretrained, Uniform
from autoinit.rules import UNSET, Rule

NORMAL = Normal(std=0.02)


def rule(**fields: object) -> Rule:
    return Rule(**{"initializer": NORMAL, "layer": "Linear", **fields})


def test_a_rule_is_a_value() -> None:
    one = rule(name=["a", "b"], params="*", bias=0.5, override=[Rule(initializer=Uniform(), name="c")])
    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.deepcopy(one) == one
    assert hash(rule()) == hash(rule())
    with pytest.raises(FrozenInstanceError):
        one.bias = 1
    with pytest.raises(TypeError):
        Rule(NORMAL)
    assert pickle.loads(pickle.dumps(rule())).bias is UNSET


def test_where_it_was_written_is_no_part_of_what_it_is() -> None:
    assert rule(origin="init_cfg[0]") == rule(origin="rules.yaml: init_cfg[3]")
    assert rule() != rule(bias=0.0)
    assert rule(bias=0.0) != rule(bias=None)


@pytest.mark.parametrize("key", ["layer", "name", "params"])
@pytest.mark.parametrize("value", ["x", ["x"], ("x",), {"x"}], ids=repr)
def test_selectors_become_tuples(key: str, value: object) -> None:
    assert getattr(rule(**{key: value}), key) == ("x",)


def test_the_repr_is_the_code() -> None:
    one = rule(layer=["Linear", "Conv2d"], bias=None)
    assert repr(one) == (
        "Rule(initializer=Normal(mean=0.0, std=0.02), layer=('Linear', 'Conv2d'), name=(), params=None, within=(), "
        "ndim=(), bias=None, fan=None, padding='keep', overwrite=False, override=(), origin='Rule')"
    )
    assert repr(rule().bias) == "UNSET"


@pytest.mark.parametrize(
    ("fields", "weight", "bias", "other"),
    [
        ({}, NORMAL, Constant(val=0), None),
        (dict(bias=0.5), NORMAL, Constant(val=0.5), None),
        (dict(bias=-1), NORMAL, Constant(val=-1), None),
        (dict(bias=None), NORMAL, None, None),
        (dict(params="weight"), NORMAL, None, None),
        (dict(params="weight", bias=None), NORMAL, None, None),
        (dict(params="bias"), None, NORMAL, None),
        (dict(params=["weight", "bias"]), NORMAL, Constant(val=0), None),
        (dict(params="*"), NORMAL, Constant(val=0), NORMAL),
        (dict(params="*", bias=2), NORMAL, Constant(val=2), NORMAL),
        (dict(params=["w*", "b*"], bias=2), NORMAL, Constant(val=2), None),
        (dict(params=["gamma", "b*", "weight"]), NORMAL, Constant(val=0), None),
        (dict(params="*", bias=None), NORMAL, None, NORMAL),
        (dict(params="*_proj"), None, None, NORMAL),
        (dict(params=["*_proj", "bias"]), None, NORMAL, NORMAL),
        (dict(params="re:w.*|in.*"), NORMAL, None, NORMAL),
        (dict(params="[!b]*"), NORMAL, None, NORMAL),
        (dict(initializer=Pretrained(checkpoint="a.pth")), None, None, None),
        (dict(initializer=ModuleFunction(function=print)), None, None, None),
    ],
    ids=str,
)
def test_what_each_parameter_gets(
    fields: dict, weight: Initializer | None, bias: Initializer | None, other: Initializer | None
) -> None:
    one = rule(**fields)
    assert one.names("weight") == ("weight" in (one.params or ()))
    assert one.scheme_for("weight") == weight
    assert one.scheme_for("bias") == bias
    assert one.scheme_for("in_proj") == other


@pytest.mark.parametrize("number", [1, 0.5, np.float32(0.5), np.int64(1), float("inf")], ids=repr)
def test_any_real_number_is_a_bias(number: float) -> None:
    assert rule(bias=number).scheme_for("bias") == Constant(val=float(number))


@pytest.mark.parametrize(
    ("fields", "selects"),
    [
        ({}, True),
        (dict(layer=()), False),
        (dict(layer=(), name="a"), True),
        (dict(layer=(), params="*"), True),
        (dict(layer=(), override=[Rule(initializer=NORMAL, name="a")]), False),
    ],
    ids=str,
)
def test_whether_it_selects_anything_by_itself(fields: dict, selects: bool) -> None:
    assert rule(**fields).selects_by_itself == selects


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "Rule (layer='Linear')"),
        (dict(layer=nn.Conv2d), "Rule (layer='Conv2d')"),
        (dict(layer=["Linear", nn.Conv2d]), "Rule (layer=['Linear', 'Conv2d'])"),
        (dict(name="layer*", params="weight"), "Rule (layer='Linear', name='layer*', params='weight')"),
        (dict(layer=(), origin="init_cfg[2].override[0]"), "init_cfg[2].override[0]"),
        (dict(overwrite=True, origin="rules[0]"), "rules[0] (layer='Linear', overwrite=True)"),
        (dict(layer=(), overwrite=True), "Rule (overwrite=True)"),
        (dict(layer=(), within=nn.Linear, name="a", params="b"), "Rule (within='Linear', name='a', params='b')"),
    ],
    ids=str,
)
def test_its_description(fields: dict, text: str) -> None:
    assert rule(**fields).describe() == text


@pytest.mark.parametrize(
    ("fields", "error", "origin"),
    [
        (dict(initializer="Normal"), ConfigTypeError, "Rule"),
        (dict(initializer=Normal), ConfigTypeError, "Rule"),
        (dict(layer=["Linear", 5]), ConfigTypeError, "Rule.layer"),
        (dict(layer={"Linear": 1}), ConfigTypeError, "Rule.layer"),
        (dict(layer=b"Linear"), ConfigTypeError, "Rule.layer"),
        (dict(name=nn.Linear), ConfigTypeError, "Rule.name"),
        (dict(params=True), ConfigTypeError, "Rule.params"),
        (dict(params="re:["), ConfigError, "Rule.params"),
        (dict(bias=True), ConfigTypeError, "Rule.bias"),
        (dict(bias=10**400), ConfigError, "Rule.bias"),
        (dict(bias=1, params="*_embed"), ConfigError, "Rule.bias"),
        (dict(bias=None, params="bias"), ConfigError, "Rule.bias"),
        (dict(override=dict(name="a")), ConfigTypeError, "Rule.override"),
        (dict(override=[dict(name="a")]), ConfigTypeError, "Rule.override"),
        (
            dict(override=[Rule(initializer=NORMAL, name="a"), Rule(initializer=NORMAL)]),
            ConfigError,
            "Rule.override[1]",
        ),
    ],
    ids=str,
)
def test_what_it_refuses_beside_what_the_messages_have(fields: dict, error: type[ConfigError], origin: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rule(**fields)
    assert type(caught.value) is error
    assert caught.value.origin == origin
    assert str(caught.value).startswith(f"{origin}: ")


def test_replacing_a_field_checks_again() -> None:
    with pytest.raises(ConfigError):
        replace(rule(params="*"), params=[])
    assert replace(rule(), layer=(), name="a").name == ("a",)
