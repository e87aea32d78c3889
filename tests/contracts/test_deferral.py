"""D: deferral of the fills of constructors."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given

from tests.strategies import seeds

from .cases import existing, ruled, same, state, under


@given(ruled(), seeds())
def test_d4_without_deferral_what_no_rule_covers_is_bitwise_that_of_plain_construction(case: Any, seed: int) -> None:
    tree, cfg = case
    model, initialized = under(cfg, tree, seed, defer=False), existing(cfg, tree, seed)
    assert same(state(model), state(initialized)), "initialize() leaves all else as the constructors did"


@given(ruled(), seeds())
def test_d1_nothing_is_left_unfilled(case: Any, seed: int) -> None:
    tree, cfg = case
    torch.use_deterministic_algorithms(True)  # torch then fills new memory with NaN.
    try:
        model = under(cfg, tree, seed)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.isfinite(param).all() for param in model.parameters())
