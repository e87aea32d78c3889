"""S: values are a function of seed, root, name, index and fill."""

from __future__ import annotations

import copy
from typing import Any

import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from autoinit import autoinit, initialize
from tests.strategies import Branch, Stage, configs, schemes, seeds

from .cases import PLAIN, covered, existing, planned, ruled, under, whatever_loses


def changed(data: st.DataObject, tree: Branch) -> Branch:
    """A tree with children left out and in another order, where they keep their names; and inside of them, too."""
    named = tree.kind in (Stage, nn.ModuleDict)
    children = []
    for name, child in tree.children:
        if not named or data.draw(st.booleans(), label=f"keep {name}"):
            children.append((name, changed(data, child) if isinstance(child, Branch) else child))
    return tree.with_children(data.draw(st.permutations(children)) if named else children)


@given(st.data(), ruled(PLAIN, overrides=False), seeds())
def test_s1_layers_added_removed_or_reordered_change_no_other_parameter(
    data: st.DataObject, case: Any, seed: int
) -> None:
    tree, cfg = case
    other = changed(data, tree)
    before, after = covered(under(cfg, tree, seed), cfg), covered(under(cfg, other, seed), cfg)
    assert after.items() <= before.items()
    assert after.keys() == before.keys() & {name for name, _ in other.build().named_parameters()}


@given(st.data(), seeds())
def test_s1_a_root_does_not_depend_on_the_others_of_its_block(data: st.DataObject, seed: int) -> None:
    tree, one, other = data.draw(PLAIN), data.draw(PLAIN), data.draw(PLAIN)
    assume(all(any(True for _ in each.build().parameters()) for each in (one, other)))
    cfg = data.draw(configs(tree, schemes=schemes(), overrides=False))
    values = []
    for before in (one, other):
        with whatever_loses(), autoinit(cfg, seed=seed, unmatched="ignore"):
            first, model = before.build(), tree.build()
        values.append(covered(model, cfg))
        del first
    assert values[0] == values[1]


@given(ruled(PLAIN), seeds())
def test_s2_the_generator_decides_where_no_seed_is_given_and_is_asked_only_for_what_is_random(
    case: Any, seed: int
) -> None:
    tree, cfg = case
    model = tree.build()
    runs = []
    for _ in range(2):
        torch.manual_seed(seed)
        with whatever_loses():
            initialize(model, cfg)
        runs.append((covered(model, cfg), torch.get_rng_state()))
    assert runs[0][0] == runs[1][0]
    torch.manual_seed(seed)
    is_random = any(entry.fill is not None and entry.fill.is_random for entry in planned(model, cfg).values())
    assert torch.equal(torch.get_rng_state(), runs[0][1]) is not is_random


@given(ruled(), seeds())
def test_s1_copies_of_a_model_and_models_on_other_threads_get_the_same_values(case: Any, seed: int) -> None:
    tree, cfg = case
    model = existing(cfg, tree, seed)
    again = copy.deepcopy(tree.build())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with whatever_loses():
            initialize(again, cfg, seed=seed, unmatched="ignore")
    finally:
        torch.set_num_threads(threads)
    assert covered(again, cfg) == covered(model, cfg)
