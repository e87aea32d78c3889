"""The plan, the report and the verdict say the same."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from autoinit import verify
from tests.strategies import configs, layers, module_trees, seeds

from .cases import DTYPES, planned, ruled


@given(ruled(), seeds())
def test_the_report_is_the_plan_carried_out_and_the_weights_are_what_it_says(case: Any, seed: int) -> None:
    tree, cfg = case
    model = tree.build()
    decided = planned(model, cfg)
    report = decided.apply(model, seed=seed)
    assert [*report] == [*decided]
    assert all(report[fqn].fill == entry.fill and report[fqn].rule == entry.rule for fqn, entry in decided.items())
    assert all((report[fqn].outcome == "filled") is (entry.fill is not None) for fqn, entry in decided.items())
    # 60 models whose every seed is fixed: at this rate one fails by chance once in a million such suites.
    verdict = verify(model, report, alpha=1e-8)
    assert verdict.ok, verdict.failures


@given(st.data())
def test_a_plan_needs_no_values(data: st.DataObject) -> None:
    tree = data.draw(module_trees(leaves=layers(dtypes=DTYPES), ties=True))
    cfg = data.draw(configs(tree))
    with torch.device("meta"):
        meta = tree.build()
    assert planned(meta, cfg) == planned(tree.build(), cfg)
