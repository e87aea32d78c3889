"""The contracts of the design, each as a property of random models and configs (P, I, D, A, T, S)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from autoinit import AutoInitError, AutoInitWarning, Plan, autoinit, initialize, plan, verify
from autoinit.construction import Watch
from autoinit.fills import Constant
from tests.strategies import (
    Branch,
    Stage,
    TensorLayout,
    configs,
    layers,
    module_trees,
    schemes,
    seeds,
    tensors,
)

DTYPES = (torch.float32, torch.bfloat16)
PLAIN = module_trees(leaves=layers(dtypes=DTYPES))
TIED = module_trees(leaves=layers(dtypes=DTYPES, parametrized=True), ties=True)


@contextmanager
def whatever_loses() -> Iterator[None]:
    """Random rules beat random overrides, and disagree about tied parameters, of which the plan warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* loses .* to |.*are one parameter", AutoInitWarning)
        yield


def planned(model: nn.Module, cfg: Any) -> Plan:
    with whatever_loses():
        return plan(model, cfg, unmatched="ignore")


def fills(model: nn.Module, cfg: Any) -> dict[str, object]:
    """What a config gives to the parameters that it covers."""
    return {fqn: entry.fill for fqn, entry in planned(model, cfg).items() if entry.fill is not None}


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(bits(one[name]) == bits(other[name]) for name in one)


def bits(tensor: Tensor) -> tuple[Any, ...]:
    values = tensor.detach().clone(memory_format=torch.contiguous_format).flatten()
    return tensor.dtype, tuple(tensor.shape), values.view(torch.uint8).numpy().tobytes()


def covered(model: nn.Module, cfg: Any) -> dict[str, tuple[Any, ...]]:
    """The bits of the parameters that a config covers, by FQN; a weight that is computed as what it comes to."""
    entries = planned(model, cfg)
    found = {}
    for fqn, entry in entries.items():
        if entry.fill is not None:
            owner, _, name = fqn.rpartition(".")
            found[fqn] = bits(getattr(model.get_submodule(owner), name))
    return found


def under(cfg: Any, tree: Branch, seed: int | None, **options: Any) -> nn.Module:
    """What is built in a block, where every parameter is large enough to be deferred."""
    torch.manual_seed(0)
    with (
        whatever_loses(),
        mock.patch.object(Watch, "LARGE", 1),
        autoinit(cfg, seed=seed, unmatched="ignore", **options),
    ):
        return tree.build()


def existing(cfg: Any, tree: Branch, seed: int | None) -> nn.Module:
    """What is built, and then initialized."""
    torch.manual_seed(0)
    model = tree.build()
    with whatever_loses():
        initialize(model, cfg, seed=seed, unmatched="ignore")
    return model


# --- precedence --------------------------------------------------------------------------------------------------


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


# --- interception and deferral -----------------------------------------------------------------------------------


@given(TIED, st.booleans(), st.sampled_from((1, Watch.LARGE)), st.sampled_from(([], None)))
def test_i6_no_rules_are_the_identity(tree: Branch, defer: bool, large: int, cfg: Any) -> None:
    torch.manual_seed(5)
    plain, after = tree.build(), torch.get_rng_state()
    torch.manual_seed(5)
    with mock.patch.object(Watch, "LARGE", large), autoinit(cfg, defer=defer):
        model = tree.build()
    assert same(state(model), state(plain))
    assert torch.equal(torch.get_rng_state(), after)


@given(st.data(), seeds())
def test_a_block_does_what_initialize_does_to_the_finished_model(data: st.DataObject, seed: int) -> None:
    tree = data.draw(TIED)
    cfg = data.draw(configs(tree))
    assert covered(under(cfg, tree, seed), cfg) == covered(existing(cfg, tree, seed), cfg)


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


# --- atomicity ---------------------------------------------------------------------------------------------------

WRONG = (
    dict(type="Constant", val=1, layer="Lineer"),
    dict(type="Orthogonal", params="*"),
    dict(type="Pretrained", checkpoint="nowhere.pth"),
    dict(type="Constant", val=1, override=dict(name="no_such_child")),
    dict(type="Normal", std=-1.0),
)


@given(st.data(), st.sampled_from(WRONG), st.integers(0, 4))
def test_a_what_cannot_be_done_changes_nothing(data: st.DataObject, wrong: dict[str, Any], place: int) -> None:
    tree = data.draw(TIED)
    cfg = data.draw(configs(tree))
    model = tree.build()
    if wrong["type"] == "Orthogonal":
        # What is wrong with it shows where it wins, on a parameter without an axis to spare.
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


# --- tensors -----------------------------------------------------------------------------------------------------


@given(tensors(max_dims=4), st.data(), st.booleans(), st.booleans(), seeds())
def test_t_a_parameter_keeps_all_but_its_values(
    layout: TensorLayout, data: st.DataObject, requires_grad: bool, has_grad: bool, seed: int
) -> None:
    storage = layout.build()
    model = Stage(())
    model.weight = param = nn.Parameter(storage, requires_grad=requires_grad)
    grad = param.grad = torch.ones_like(param) if has_grad and requires_grad else None
    strides, version, around = param.stride(), param._version, storage.untyped_storage()
    outside = torch.tensor([], dtype=layout.dtype).set_(around).clone()
    scheme = data.draw(schemes(layout.shape))
    initialize(model, dict(scheme, params="weight"), seed=seed)
    assert model.weight is param and param.requires_grad is requires_grad and param.grad is grad
    assert (param.stride(), param.untyped_storage().data_ptr()) == (strides, around.data_ptr())
    assert param._version > version
    assert torch.isfinite(param).all()
    written = torch.tensor([], dtype=layout.dtype).set_(around).isfinite().sum().item()
    assert written == param.numel() and outside.isnan().all(), "and what lies around it in memory is left"


@given(tensors(min_dims=2, max_dims=4), st.data(), seeds())
def test_t_values_do_not_depend_on_how_a_parameter_lies_in_memory(
    layout: TensorLayout, data: st.DataObject, seed: int
) -> None:
    scheme = data.draw(schemes(layout.shape))
    values = []
    for each in (layout, TensorLayout(layout.shape, layout.dtype)):
        model = Stage(())
        model.weight = nn.Parameter(each.build())
        initialize(model, dict(scheme, params="weight"), seed=seed)
        values.append(bits(model.weight))
    assert values[0] == values[1]


# --- sampling ----------------------------------------------------------------------------------------------------


def changed(data: st.DataObject, tree: Branch) -> Branch:
    """A tree with children left out and in another order, where they keep their names; and inside of them, too."""
    named = tree.kind in (Stage, nn.ModuleDict)
    children = []
    for name, child in tree.children:
        if not named or data.draw(st.booleans(), label=f"keep {name}"):
            children.append((name, changed(data, child) if isinstance(child, Branch) else child))
    return tree.with_children(data.draw(st.permutations(children)) if named else children)


@given(st.data(), seeds())
def test_s1_layers_added_removed_or_reordered_change_no_other_parameter(data: st.DataObject, seed: int) -> None:
    tree = data.draw(PLAIN)
    cfg = data.draw(configs(tree, overrides=False))
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


@given(st.data(), seeds())
def test_s2_the_generator_decides_where_no_seed_is_given_and_is_asked_only_for_what_is_random(
    data: st.DataObject, seed: int
) -> None:
    tree = data.draw(PLAIN)
    cfg = data.draw(configs(tree))
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


@given(st.data(), seeds())
def test_s1_copies_of_a_model_and_models_on_other_threads_get_the_same_values(data: st.DataObject, seed: int) -> None:
    tree = data.draw(TIED)
    cfg = data.draw(configs(tree))
    model = existing(cfg, tree, seed)
    again = copy.deepcopy(tree.build())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with whatever_loses():
            initialize(again, cfg, seed=seed)
    finally:
        torch.set_num_threads(threads)
    assert covered(again, cfg) == covered(model, cfg)


# --- plan, report, verdict ---------------------------------------------------------------------------------------


@given(st.data(), seeds())
def test_the_report_is_the_plan_carried_out_and_the_weights_are_what_it_says(data: st.DataObject, seed: int) -> None:
    tree = data.draw(TIED)
    cfg = data.draw(configs(tree))
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
