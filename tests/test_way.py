"""The way of one rule through the package: how many functions and types a reader meets who follows it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

from torch import nn

import autoinit

PACKAGE = str(Path(autoinit.__file__).parent)
FUNCTIONS, TYPES = 240, 46
"""What it takes today; whoever makes the way shorter lowers them."""


def build() -> nn.Module:
    with autoinit.autoinit(dict(type="Normal", layer="Linear", std=0.02)):
        return nn.Linear(4, 4)


def test_the_way_of_one_rule_on_one_linear_grows_no_longer() -> None:
    functions: set[tuple[str, int]] = set()
    types: set[type] = set()

    def profile(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and not code.co_name.startswith("<"):
            functions.add((code.co_filename, code.co_firstlineno))
            types.update(type(value) for value in frame.f_locals.values())

    build()  # caches and imports are no part of the way
    sys.setprofile(profile)
    try:
        build()
    finally:
        sys.setprofile(None)
    ours = {kind for kind in types if kind.__module__.startswith("autoinit")}
    assert 50 < len(functions) <= FUNCTIONS, len(functions)
    assert 10 < len(ours) <= TYPES, sorted(kind.__name__ for kind in ours)
