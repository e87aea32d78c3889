"""The bounds of a signal."""

from __future__ import annotations

import math
from typing import Any

import pytest

from autoinit import Bounds, ConfigError, ConfigTypeError

EMPTY = "holds nothing: it must be 0 <= smallest < largest."


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (dict(std=1.0), ConfigTypeError, "Bounds.std=1.0 must be a pair: the smallest and the largest."),
        (dict(std=("a", 2)), ConfigTypeError, "Bounds.std=('a', 2) must be a number, not str."),
        (dict(gradient=(2, 1)), ConfigError, f"Bounds.gradient=(2, 1) {EMPTY}"),
        (dict(gain=(-1, 1)), ConfigError, f"Bounds.gain=(-1, 1) {EMPTY}"),
        (dict(std=(math.nan, 1)), ConfigError, f"Bounds.std=(nan, 1) {EMPTY}"),
        (dict(dead=50), ConfigError, "Bounds.dead=50 must be a share, between 0 and 1."),
        (dict(ignore="re:("), ConfigError, "'re:(' is not a regular expression: "),
    ],
)
def test_empty_bounds_are_refused(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        Bounds(**options)
    assert str(caught.value).startswith(text)


def test_an_ignored_module_covers_its_children_and_parameters() -> None:
    bounds = Bounds(ignore=("blocks.*.gate", "head"))
    assert bounds.ignores("blocks.3.gate") and bounds.ignores("blocks.3.gate.weight") and bounds.ignores("head.fc")
    assert not bounds.ignores("blocks.3") and not bounds.ignores("header") and not bounds.ignores("")
