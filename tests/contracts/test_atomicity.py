"""A: an error changes nothing."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from autoinit import AutoInitError, AutoInitWarning, initialize
from autoinit.fills import Constant

from .cases import planned, ruled, same, state

WRONG = (
    dict(type="Constant", val=1, layer="Lineer"),
    dict(type="Orthogonal", params="*"),
    dict(type="Pretrained", checkpoint="nowhere.pth"),
    dict(type="Constant", val=1, override=dict(name="no_such_child")),
    dict(type="Normal", std=-1.0),
)


@given(ruled(), st.sampled_from(WRONG), st.integers(0, 4))
def test_a_what_cannot_be_done_changes_nothing(case: Any, wrong: dict[str, Any], place: int) -> None:
    tree, cfg = case
    model = tree.build()
    if wrong["type"] == "Orthogonal":
        # It is wrong where it wins, on a parameter with fewer than two dimensions.
        gets = planned(model, dict(type="Constant", val=1, params="*")).values()
        assume(any(entry.fill == Constant(1.0) and len(entry.shape or ()) < 2 for entry in gets))
        place = len(cfg)
    cfg.insert(place, wrong)
    before, generator = state(model), torch.get_rng_state()
    with warnings.catch_warnings(), pytest.raises(AutoInitError):
        warnings.simplefilter("ignore", AutoInitWarning)
        initialize(model, cfg, unmatched="error")
    assert same(state(model), before)
    assert torch.equal(torch.get_rng_state(), generator)
