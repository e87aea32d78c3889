"""Patterns over dotted names, against a definition of the globs in plain recursion."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoinit.errors import ConfigError, ConfigTypeError
from autoinit.globs import check_ndim, fits_ndim, fqn_pattern, is_plain, ndim_pattern, param_pattern
from autoinit.initializers import Normal
from autoinit.rules import Rule

NAMES = ["", "stem", "layer1", "layer1.0", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "layer10.1.conv1"]
NAMES += ["blocks.0.attn", "blocks.0.attn.qkv", "attn", "head"]


def matches(pattern: str) -> list[str]:
    return [name for name in NAMES if fqn_pattern(pattern)(name)]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("layer[12].*.conv1", ["layer1.0.conv1", "layer2.0.conv1"]),
        ("***", ["stem", "layer1", "attn", "head"]),
        ("**.attn", ["blocks.0.attn", "attn"]),
        ("attn.**.**", ["attn"]),
        ("**", NAMES),
        ("", [""]),
        ("Stem", []),
        (r"re:layer[12]\..*conv1", ["layer1.0.conv1", "layer2.0.conv1"]),
        ("re:.*conv1", ["layer1.0.conv1", "layer2.0.conv1", "layer10.1.conv1"]),
        ("re:conv1", []),
        ("re:", [""]),
    ],
)
def test_fqn_patterns_beside_what_is_drawn_below(pattern: str, names: list[str]) -> None:
    assert sorted(matches(pattern)) == sorted(names)


@pytest.mark.parametrize("pattern", ["a?b", "a[!x]b", "a[!a-z]b", "a[+-0]b", "a*b", "*?*", "a[.]b", "?*?"])
def test_no_wildcard_crosses_a_dot(pattern: str) -> None:
    assert not fqn_pattern(pattern)("a.b")


def defined(pattern: list[str], name: list[str]) -> bool:
    """What a glob means, one component at a time."""
    if not pattern:
        return not name
    if pattern[0] == "**":
        return any(defined(pattern[1:], name[skipped:]) for skipped in range(len(name) + 1))
    return bool(name) and fnmatch.fnmatchcase(name[0], pattern[0]) and defined(pattern[1:], name[1:])


components = st.text("ab1_", min_size=1, max_size=4)
globs = st.lists(
    st.just("*") | st.just("?") | st.sampled_from(["[ab]", "[!a]", "[a-z]"]) | components, min_size=1, max_size=3
)
parts = st.just("**") | globs.map("".join).filter(lambda part: "**" not in part)


@given(pattern=st.lists(parts, min_size=1, max_size=5), name=st.lists(components, min_size=1, max_size=5))
def test_globs_mean_what_they_say(pattern: list[str], name: list[str]) -> None:
    assert fqn_pattern(".".join(pattern))(".".join(name)) == defined(pattern, name)


@given(name=st.lists(components, min_size=1, max_size=5), data=st.data())
def test_a_glob_made_from_a_name_matches_it(name: list[str], data: st.DataObject) -> None:
    pattern = [
        data.draw(st.sampled_from([part, "*", f"{part[0]}*", f"*{part[-1]}", "?" * len(part), "**"])) for part in name
    ]
    assert fqn_pattern(".".join(pattern))(".".join(name))


@given(text=st.text(max_size=12), name=st.text(max_size=12))
def test_any_text_is_a_pattern(text: str, name: str) -> None:
    if not text.startswith("re:"):
        assert fqn_pattern(text)(name) in (True, False)
        assert param_pattern(text)(name) in (True, False)


@given(
    name=st.text(st.characters(blacklist_characters="*?["), max_size=12).filter(lambda name: not name.startswith("re:"))
)
def test_a_plain_name_matches_itself_alone(name: str) -> None:
    assert is_plain(name)
    assert fqn_pattern(name)(name)
    assert not fqn_pattern(name)(name + "x")


@pytest.mark.parametrize("pattern", ["a*", "a?", "a[b]", "[", "re:a", "**"])
def test_patterns_that_are_not_plain(pattern: str) -> None:
    assert not is_plain(pattern)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("weight", ["weight"], ["weight_g", "Weight", "weigh", ""]),
        ("*", ["weight", "bias", "in_proj_weight"], []),
        ("*_embed", ["pos_embed", "_embed"], ["embed", "pos_embedding"]),
        ("weight_?h_l0", ["weight_ih_l0", "weight_hh_l0"], ["weight_h_l0"]),
        ("weight_[ih]h_l*", ["weight_ih_l0", "weight_hh_l12"], ["bias_ih_l0"]),
        ("**", ["weight"], []),
        ("a[", ["a["], ["a"]),
        ("re:weight|bias", ["weight", "bias"], ["weight_g"]),
    ],
)
def test_param_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [param_pattern(pattern)(name) for name in yes + no] == [True] * len(yes) + [False] * len(no)


@pytest.mark.parametrize("compiler", [fqn_pattern, param_pattern])
@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "missing )"),
        ("a{99999999999999999999}", "the repetition number is too large"),
        ("(" * 5000 + ")" * 5000, "its groups are nested too deeply"),
    ],
)
def test_a_regular_expression_that_does_not_compile(compiler: Callable[[str], object], pattern: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"'re:{pattern}' is not a regular expression: {says}")) as caught:
        compiler("re:" + pattern)
    assert isinstance(caught.value.__cause__, (re.error, OverflowError, RecursionError))


def test_regular_expressions_have_all_that_re_has() -> None:
    assert fqn_pattern(r"re:(\w+)\.\1")("aa.aa") and not fqn_pattern(r"re:(\w+)\.\1")("aa.a")
    assert fqn_pattern(r"re:(?i)(?!head)\w+")("STEM") and not fqn_pattern(r"re:(?i)(?!head)\w+")("head")


def test_many_wildcards_do_not_explode() -> None:
    # Nested repetition would take years for a name that just fails.
    assert not fqn_pattern(".".join(["**"] * 12 + ["x"]))(".".join(["a"] * 60))
    assert not fqn_pattern("*a" * 8 + "x")("a" * 60)


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        (2, [2]),
        (0, [0]),
        ("3", [3]),
        (">1", [2, 3, 4]),
        (" >= 2 ", [2, 3, 4]),
        ("<2", [0, 1]),
        ("<=1", [0, 1]),
        ("==4", [4]),
        ("!=1", [0, 2, 3, 4]),
    ],
)
def test_numbers_and_comparisons(pattern: Any, fitting: list[int]) -> None:
    assert [ndim for ndim in range(5) if ndim_pattern(pattern)(ndim)] == fitting


def test_a_list_means_any_of_them_and_none_means_all() -> None:
    assert [ndim for ndim in range(5) if fits_ndim([1, ">3"], ndim)] == [1, 4]
    assert fits_ndim([], 7)


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        (["=2"], "Did you mean '==2'?"),
        (["=>2"], "Did you mean '>=2'?"),
        (["≥ 2"], "Did you mean '>=2'?"),
        (["<>1"], "Did you mean '!=1'?"),
        (["gt 1"], "Write a number such as 2, or a comparison such as '>1', '>=2', '==2', '!=1'."),
        (["> 1.5"], "is not a condition on the number of dimensions"),
        ([""], "is not a condition"),
        ([-1], "is not a condition"),
        (["٣"], "is not a condition"),
        ([">=0"], "leaves out nothing. Remove the key."),
        ([">=2", "<=4"], "A list means any of them, so write the numbers, such as [2, 3, 4]."),
        (["<0"], "is met by no tensor"),
    ],
)
def test_what_is_refused(patterns: list[Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_ndim(patterns)
    assert text in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        Rule(initializer=Normal(), ndim=patterns, origin="init_cfg[3]")
    assert str(caught.value).startswith("init_cfg[3].ndim: ") and caught.value.origin == "init_cfg[3].ndim"


@pytest.mark.parametrize("value", [True, 2.0, [2, None], {"a": 1}, None])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(ConfigTypeError, match=r"Rule.ndim: .* must be a number of dimensions, or a comparison"):
        Rule(initializer=Normal(), ndim=value)
