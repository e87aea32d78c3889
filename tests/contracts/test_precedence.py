"""P: the precedence of rules; `test_precedence_oracle.py` decides it a second time."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from autoinit import autoinit
from tests.strategies import Branch, Stage, configs, module_trees, seeds

from .cases import PLAIN, TIED, covered, existing, fills, planned, whatever_loses


@given(st.data())
def test_p1_of_two_lists_of_rules_the_later_wins_where_it_is_about_something(data: st.DataObject) -> None:
    tree = data.draw(TIED)
    one, other = data.draw(configs(tree)), data.draw(configs(tree))
    model = tree.build()
    assert fills(model, [*one, *other]) == {**fills(model, one), **fills(model, other)}


@given(st.data())
def test_p1_an_override_is_a_rule_right_after_its_own(data: st.DataObject) -> None:
    tree = data.draw(PLAIN)
    model = tree.build()
    targets = [name for name, _ in model.named_modules() if name]
    assume(targets and any(True for _ in model.parameters()))
    (rule,) = data.draw(configs(tree, overrides=False, max_rules=1))
    target, value = data.draw(st.sampled_from(targets)), dict(type="Constant", val=9, bias=8)
    below = dict(value, name=[target, f"{target}.**"])
    assert fills(model, dict(rule, override=dict(value, name=target))) == fills(model, [rule, below])


@given(st.data())
def test_p2_what_a_child_says_beats_what_its_parents_say_where_it_is_about_something(data: st.DataObject) -> None:
    child = data.draw(module_trees(root=Stage))
    said = data.draw(configs(child))
    other = data.draw(PLAIN)
    said_child = Branch(child.kind, child.children, child.params, init_cfg=said)
    tree = Branch(Stage, (("child", said_child), ("other", other)))
    cfg = data.draw(configs(tree))
    model = tree.build()
    own = {f"child.{name}": fill for name, fill in fills(child.build(), said).items()}
    outer = fills(Branch(Stage, (("child", child), ("other", other))).build(), cfg)
    assert fills(model, cfg) == {**outer, **own}


@given(st.data())
def test_p2_an_inner_block_beats_the_outer_where_it_is_about_something(data: st.DataObject) -> None:
    tree = data.draw(TIED)
    value = st.integers(1, 9).map(lambda value: {"type": "Constant", "val": value})
    outer, inner = data.draw(configs(tree, schemes=value)), data.draw(configs(tree, schemes=value))
    with whatever_loses(), autoinit(outer, unmatched="ignore"):
        with autoinit(inner, unmatched="ignore"):
            model = tree.build()
    assert covered(model, [*outer, *inner]) == covered(existing([*outer, *inner], tree, None), [*outer, *inner])


@given(st.data(), seeds())
def test_p5_a_tied_parameter_is_filled_once_by_the_winner_over_all_its_names(data: st.DataObject, seed: int) -> None:
    tree = data.draw(TIED)
    cfg = data.draw(configs(tree))
    model = existing(cfg, tree, seed)
    entries = planned(model, cfg)
    names = [name for fqn, entry in entries.items() for name in (fqn, *entry.aliases)]
    assert len(names) == len(set(names))
    direct = dict(model.named_parameters(remove_duplicate=False))
    for fqn, entry in entries.items():
        if fqn in direct:
            assert fqn == next(name for name, param in direct.items() if param is direct[fqn])
            assert set(entry.aliases) == {name for name, p in direct.items() if p is direct[fqn]} - {fqn}
