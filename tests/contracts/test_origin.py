"""O: rules replace initialization, and never data."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from autoinit import autoinit
from tests.models import without_our_warnings
from tests.strategies import configs, seeds

from .cases import PLAIN, existing, same, state


@given(st.data(), seeds())
def test_o2_what_was_loaded_in_the_block_is_kept_and_the_rest_gets_its_rules(data: st.DataObject, seed: int) -> None:
    tree = data.draw(PLAIN)
    cfg = data.draw(configs(tree))
    torch.manual_seed(0)
    params = dict(tree.build().named_parameters())
    loaded = data.draw(st.sets(st.sampled_from(sorted(params)))) if params else set()
    values = {name: torch.full_like(params[name], 7.0).detach() for name in loaded}
    torch.manual_seed(0)
    # A rule that has nothing left to fill is a warning.
    with without_our_warnings(), autoinit(cfg, seed=seed, unmatched="ignore") as run:
        model = tree.build()
        model.load_state_dict(values, strict=False)
    assert same(state(model), {**state(existing(cfg, tree, seed)), **values})
    for fqn, entry in (item for report in run.reports for item in report.items()):
        assert fqn not in loaded or entry.outcome.startswith("kept: data")
