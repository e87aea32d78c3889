"""Regular expressions in bounded time, against `re`."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable

import pytest
from hypothesis import assume, event, example, given
from hypothesis import strategies as st

from autoinit.errors import ConfigError
from autoinit.globs import fqn_pattern
from autoinit.regexes import Compiler, Name, _is_tame, _parser, whole_matcher

LETTERS = st.sampled_from(["a", "b", "A", ".", r"\.", r"\w", r"\d", "[ab]", "[^a]", "[^.]", r"[\d_]", "é", r"\W", "0"])
BETWEEN = st.sampled_from(["^", "$", r"\b", r"\B", r"\A", r"\Z", "(?=a)", "(?!a)", "(?<=a)", "(?<!ab)", "(?i:a)", ""])
REPEATS = st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{2,}", "{0,2}", "{1,3}?", "{0,70000}"])


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    groups = st.sampled_from(["({})", "(?:{})", "(?i:{})", "(?s-i:{})", "(?={})", "(?!{})", "(?P<x>{})"])
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map("|".join),
        st.builds(lambda group, text: group.replace("{}", text), groups, inner),
        st.builds(lambda text, repeat: f"(?:{text}){repeat}", inner, REPEATS),
        st.builds(lambda text, repeat: f"{text}{repeat}", LETTERS, REPEATS),
    )


PATTERNS = st.recursive(LETTERS | BETWEEN, grown, max_leaves=8)


def at_once(pattern: str, text: str) -> bool:
    """What the matcher says that is used where `re` might not come to an end."""
    tree = _parser.parse(pattern)
    return bool(Compiler(tree).sequence(tree, ())(Name(text), 0) >> len(text) & 1)


@given(
    pattern=PATTERNS, text=st.text("abAé._0\n", max_size=7), flags=st.sampled_from(["", "(?i)", "(?s)", "(?m)", "(?a)"])
)
@example(pattern="(?:a?){3}a{3}", text="aaa", flags="")
@example(pattern="(?:^a|b$)+", text="ab", flags="(?m)")
@example(pattern="(?:)*", text="", flags="")
@example(pattern=r"(?:\b|a){70000}", text="aa", flags="")
def test_it_says_what_re_says(pattern: str, text: str, flags: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = re.compile(flags + pattern)
    except re.error:
        assume(False)
    expected = compiled.fullmatch(text) is not None
    event(f"matches: {expected}")
    assert at_once(flags + pattern, text) == expected
    assert whole_matcher(flags + pattern)(text) == expected


HOSTILE = [
    r"(\w+)+x",
    r"(a|a)*b",
    r"(a?){40}a{40}b",
    r"(.*)*(.*)*(.*)*x",
    r"(\w+\.?)+!",
    "((a+)+)+$x",
    "(?:a|aa)+(?=b)",
]
HOSTILE += [
    r"(a*?)*?x",
    r".*.*.*.*.*.*.*.*.*x",
    "(a|b|ab)*(c|bcd)*(d*)*x",
    "(?:(?:a{1,50}){1,50}){1,50}x",
    "(" * 20 + "a" + "+)" * 20 + "x",
]


def work(matches: Callable[[str], bool], text: str) -> int:
    """How many functions are called to find that a text does not match."""
    calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        matched = matches(text)
    finally:
        sys.setprofile(None)
    assert not matched
    return calls


@pytest.mark.parametrize("pattern", HOSTILE)
def test_patterns_on_which_re_spends_a_lifetime(pattern: str) -> None:
    matches = whole_matcher(pattern)
    assert not matches("encoder.layers.0.self_attention.output_projection.weight")
    # Quadratic at most; backtracking doubles the work with every letter.
    assert work(matches, "a" * 120) < 4.5 * work(matches, "a" * 60) < 2_000_000


@pytest.mark.parametrize(
    "pattern",
    [
        "a",
        ".*conv",
        r"blocks\.[01]\..*",
        r".*\.(qkv|proj)",
        "(a)(b)(c)",
        "(?i)x+",
        "(?:a{3}){2}",
        r"(en|de)coder\.(\d+)\.\w+",
        "(a+)?b?c?",
    ],
)
def test_what_people_write_is_left_to_re(pattern: str) -> None:
    assert _is_tame(_parser.parse(pattern))


@pytest.mark.parametrize("pattern", ["(a+)+", "a*b*c*d*", "a?b?c?d?", "(a|b*)*", "(?:a|bc)+", "(?:a?){40}"])
def test_what_could_take_long_is_not(pattern: str) -> None:
    assert not _is_tame(_parser.parse(pattern))


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "missing ), unterminated subpattern"),
        ("a{99999999999999999999}", "the repetition number is too large"),
        ("(" * 5000 + ")" * 5000, "its groups are nested too deeply"),
        ("(?:" * 80 + "a*" + ")*" * 80, "its groups are nested too deeply"),
        (r"(a*)*\1", "matched in bounded time"),
    ],
)
def test_what_is_none_is_an_error(pattern: str, says: str) -> None:
    with pytest.raises(ConfigError, match="is not a regular expression: .*" + re.escape(says)):
        fqn_pattern("re:" + pattern)


def test_back_references_where_they_are_harmless() -> None:
    assert whole_matcher(r"(a+)\.\1")("aa.aa") and not whole_matcher(r"(a+)\.\1")("aa.a")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="newer syntax")
def test_possessive_repeats_where_they_are_harmless() -> None:
    assert whole_matcher("a*+b")("aab") and not whole_matcher("a*+ab")("aab")
    with pytest.raises(ValueError, match="possessive"):
        whole_matcher("(?:a|b|cd)*+(e|fg)*")
