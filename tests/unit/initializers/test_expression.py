"""Expressions: their values, what they may contain, and what each mistake says."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoinit import plan
from autoinit.errors import ConfigError, ConfigTypeError, ShapeError
from autoinit.fills import Vector
from autoinit.initializers import Constant, Expression, Kaiming, Normal, TruncNormal, Uniform
from autoinit.initializers.expression import NAMES

FUNCTIONS = {"sqrt": math.sqrt, "log": math.log, "exp": math.exp, "min": min, "max": max, "pi": math.pi}

leaves = st.one_of(
    st.sampled_from([*NAMES, "pi"]), st.integers(0, 20).map(str), st.floats(0, 9, allow_nan=False).map(repr)
)


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "**"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda text: f"-{text}"),
        st.tuples(st.sampled_from(["sqrt", "log", "exp"]), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
    )


@given(text=st.recursive(leaves, larger, max_leaves=8), values=st.tuples(*[st.floats(1, 64)] * len(NAMES)))
def test_values_are_those_of_python(text: str, values: tuple[float, ...]) -> None:
    numbers = dict(zip(NAMES, values, strict=True))
    expression = Expression(text)
    assert expression.names == {name for name in NAMES if name in text}
    python = text
    for digits in sorted({word for word in text.replace("(", " ").replace(")", " ").split() if word.isdigit()}):
        python = python.replace(f" {digits} ", f" {digits}.0 ")  # Python's integers have no limits; floats have.
    try:
        expected = eval(python, {"__builtins__": {}}, {**FUNCTIONS, **numbers})
        assert not isinstance(expected, complex) and not math.isnan(expected)
        expected = float(expected)
    except (ArithmeticError, ValueError, TypeError, AssertionError):
        with pytest.raises(ShapeError):
            expression.value(numbers)
        return
    assert expression.value(numbers) == pytest.approx(expected, rel=1e-12)


def test_it_is_a_value_and_a_number_without_names() -> None:
    expression = Expression(" 1/sqrt( 2 *  depth)\n")
    assert str(expression) == "1/sqrt( 2 * depth)"
    assert expression == pickle.loads(pickle.dumps(expression)) == copy.deepcopy(expression)
    assert hash(expression) == hash(Expression("1/sqrt( 2 * depth)")) and expression != Expression("1/depth")
    assert str(Normal(std="1/depth")) == "Normal(std=1/depth)"
    assert pickle.loads(pickle.dumps(Normal(std="1/depth"))) == Normal(std="1/depth")
    assert Normal(std="1/sqrt(4)") == Normal(std=0.5)
    assert Uniform(a="-sqrt(3)", b="sqrt(3)") == Uniform(a=-math.sqrt(3), b=math.sqrt(3))
    vector = dict(type="Constant", val=[2] * 16, scale="1/fan_in", layer="LSTM", params="bias_ih*")
    assert plan(nn.LSTM(8, 4), vector)["bias_ih_l0"].fill == Vector((0.25,) * 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1/layr", "unknown name 'layr'. Did you mean 'layer'?"),
        ("1/n_layer", "unknown name 'n_layer'. Did you mean 'layer'?"),
        ("depht", "unknown name 'depht'. Did you mean 'depth'?"),
        ("2 * heads", "unknown name 'heads'. Known: layer, depth, fan_in, fan_out, dim, pi."),
        ("sqr(2)", "unknown function 'sqr'. Did you mean 'sqrt'?"),
        ("sqrt(1, 2)", "sqrt needs one argument, not 2."),
        ("min(layer)", "min needs at least 2 arguments, not 1."),
        ("2^layer", "'2 ^ layer' is not arithmetic. A power is written **."),
        ("layer // 2", "'layer // 2' is not arithmetic."),
        ("layer.real", "'layer.real' is not arithmetic."),
        ("[1, 2]", "'[1, 2]' is not arithmetic."),
        ("layer if 1 else 2", "is not arithmetic."),
        ("(lambda: 1)()", "is not arithmetic."),
        ("__import__('os').system('true')", "is not arithmetic."),
        ("sqrt(*[2])", "is not arithmetic."),
        ("max(1, 2, key=3)", "is not arithmetic."),
        ("layer + 'a'", "\"'a'\" is not arithmetic."),
        ("layer + 1j", "'1j' is not arithmetic."),
        ("layer + True", "'True' is not arithmetic."),
        (f"layer + {10**400}", "a number in it is beyond any float."),
        ("1/0", " divides by zero."),
        ("sqrt(-1)", " is not a real number."),
        ("(-8)**(1/3)", " is not a real number."),
        ("9**9**9**9", " is beyond any float."),
        ("1e308*10", " must be a finite number."),
        ("1 - 2", " must be at least 0."),
        (f"{'(' * 300}layer{')' * 300}", "too long; 500 are allowed."),
    ],
)
def test_mistakes_are_found_when_the_config_is_read(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match="^Normal: std=") as caught:
        Normal(std=text)
    assert message in str(caught.value)
    assert not isinstance(caught.value, ConfigTypeError)


@pytest.mark.parametrize("text", ["", " ", "1 +", "1e", "0.02", "-1e-2", "--1", "nan", "relu", "(((", "a b", "1\x00"])
def test_what_is_no_expression_is_mistyped(text: str) -> None:
    with pytest.raises(ConfigTypeError, match="must be a number, not str"):
        Normal(std=text)


def test_bounds_are_compared_when_they_are_known() -> None:
    assert Uniform(a="layer", b=0.5).b == 0.5
    assert TruncNormal(std="1/layer", cut="layer").cut == Expression("layer")
    assert Kaiming(a="1/layer").a == Expression("1/layer")
    assert Constant(val=["1/layer", 1]).val == (Expression("1/layer"), 1.0)
