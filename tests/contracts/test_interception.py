"""I: interception by a block."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
from hypothesis import given
from hypothesis import strategies as st

from autoinit import autoinit
from autoinit.construction import Watch
from tests.strategies import Branch, seeds

from .cases import TIED, covered, existing, ruled, same, state, under


@given(TIED, st.booleans(), st.sampled_from((1, Watch.LARGE)), st.sampled_from(([], None)))
def test_i6_no_rules_are_the_identity(tree: Branch, defer: bool, large: int, cfg: Any) -> None:
    torch.manual_seed(5)
    plain, after = tree.build(), torch.get_rng_state()
    torch.manual_seed(5)
    with mock.patch.object(Watch, "LARGE", large), autoinit(cfg, defer=defer):
        model = tree.build()
    assert same(state(model), state(plain))
    assert torch.equal(torch.get_rng_state(), after)


@given(ruled(), seeds())
def test_a_block_does_what_initialize_does_to_the_finished_model(case: Any, seed: int) -> None:
    tree, cfg = case
    assert covered(under(cfg, tree, seed), cfg) == covered(existing(cfg, tree, seed), cfg)
