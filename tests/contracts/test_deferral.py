"""D: deferral of the fills of constructors."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import configs, seeds

from .cases import TIED, existing, same, state, under


@given(st.data(), seeds())
def test_d4_without_deferral_what_no_rule_covers_is_bitwise_that_of_plain_construction(
    data: st.DataObject, seed: int
) -> None:
    tree = data.draw(TIED)
    cfg = data.draw(configs(tree))
    model, initialized = under(cfg, tree, seed, defer=False), existing(cfg, tree, seed)
    assert same(state(model), state(initialized)), "initialize() leaves all else as the constructors did"


@given(st.data(), seeds())
def test_d1_nothing_is_left_unfilled(data: st.DataObject, seed: int) -> None:
    tree = data.draw(TIED)
    cfg = data.draw(configs(tree))
    torch.use_deterministic_algorithms(True)  # What torch allocates is then NaN until somebody fills it.
    try:
        model = under(cfg, tree, seed)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.isfinite(param).all() for param in model.parameters())
