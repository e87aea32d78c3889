"""P: the precedence of rules, on layers of all kinds; `test_precedence_oracle.py` decides all of it a second time."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from autoinit import autoinit
from autoinit.fills import Constant
from tests.strategies import configs, seeds

from .cases import PLAIN, TIED, covered, existing, fills, planned, ruled, whatever_loses


@given(st.data())
def test_p1_of_two_lists_of_rules_the_later_wins_where_it_is_about_something(data: st.DataObject) -> None:
    tree = data.draw(TIED)
    one, other = data.draw(configs(tree)), data.draw(configs(tree))
    model = tree.build()
    assert fills(model, [*one, *other]) == {**fills(model, one), **fills(model, other)}


NDIMS: dict[Any, set[int]] = {">1": {2, 3, 4, 5}, 1: {1}, "!=2": {0, 1, 3, 4, 5}, "<=1": {0, 1}, "4": {4}}


@given(st.data(), st.sampled_from([*NDIMS]), st.sampled_from(["", "Sequential", "Linear", "_ConvNd", "_NormBase"]))
def test_p1_ndim_and_within_only_narrow_a_rule(data: st.DataObject, ndim: Any, within: str) -> None:
    tree = data.draw(PLAIN)
    model = tree.build()
    assume(any(True for _ in model.parameters()))
    first = data.draw(configs(tree, overrides=False))
    (rule,) = data.draw(configs(tree, overrides=False, max_rules=1))
    narrowed = rule | {"ndim": ndim} | ({"within": within} if within else {})

    def is_left_out(fqn: str) -> bool:
        path = fqn.split(".")[:-1]
        around = [model.get_submodule(".".join(path[:end])) for end in range(len(path) + 1)]
        is_inside = any(within in (cls.__name__ for cls in type(each).__mro__) for each in around)
        return model.get_parameter(fqn).dim() not in NDIMS[ndim] or (within != "" and not is_inside)

    whole, part = fills(model, rule), fills(model, narrowed)
    assert part == {fqn: fill for fqn, fill in whole.items() if not is_left_out(fqn)}
    assert fills(model, [*first, narrowed]) == {**fills(model, first), **part}


@given(st.data())
def test_p1_the_name_of_a_parameter_selects_it_alone(data: st.DataObject) -> None:
    model = data.draw(TIED).build()
    modules = {name for name, _ in model.named_modules()}
    for fqn, entry in planned(model, None).items():
        for name in (fqn, *entry.aliases):
            if name not in modules:
                assert fills(model, dict(type="Constant", val=1, name=name)) == {fqn: Constant(1.0)}
            if "." in name:
                assert fills(model, dict(type="Constant", val=1, params=name)) == {fqn: Constant(1.0)}


@given(st.data())
def test_p2_an_inner_block_beats_the_outer_where_it_is_about_something(data: st.DataObject) -> None:
    tree = data.draw(TIED)
    value = st.integers(1, 9).map(lambda value: {"type": "Constant", "val": value})
    outer, inner = data.draw(configs(tree, schemes=value)), data.draw(configs(tree, schemes=value))
    with whatever_loses(), autoinit(outer, unmatched="ignore"):
        with autoinit(inner, unmatched="ignore"):
            model = tree.build()
    assert covered(model, [*outer, *inner]) == covered(existing([*outer, *inner], tree, None), [*outer, *inner])


@given(ruled(), seeds())
def test_p5_a_tied_parameter_is_filled_once_by_the_winner_over_all_its_names(case: Any, seed: int) -> None:
    tree, cfg = case
    model = existing(cfg, tree, seed)
    entries = planned(model, cfg)
    names = [name for fqn, entry in entries.items() for name in (fqn, *entry.aliases)]
    assert len(names) == len(set(names))
    direct = dict(model.named_parameters(remove_duplicate=False))
    for fqn, entry in entries.items():
        if fqn in direct:
            assert fqn == next(name for name, param in direct.items() if param is direct[fqn])
            assert set(entry.aliases) == {name for name, p in direct.items() if p is direct[fqn]} - {fqn}
