"""Conditions on the number of dimensions."""

from __future__ import annotations

from typing import Any

import pytest

from autoinit.dimensions import check_ndim, fits_ndim, ndim_pattern
from autoinit.errors import ConfigError, ConfigTypeError
from autoinit.initializers import Normal
from autoinit.rules import Rule


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
