"""Lazy parameters: pending until they have a shape, then filled, and no trace before or after."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from autoinit import autoinit, initialize, plan
from autoinit.applying.lazy import _pending, patches
from autoinit.fills import Constant, Normal

CFG = [
    dict(type="Normal", layer=["Linear", "_ConvNd"], std=0.05),
    dict(type="Constant", layer="_BatchNorm", val=0.5, bias=0.25),
]
PATCHED = [
    *((cls, "initialize_parameters") for cls in (nn.LazyLinear, nn.LazyConv2d, nn.LazyBatchNorm2d)),
    *((nn.Module, "__call__"), (nn.UninitializedParameter, "materialize")),
    *((cls, "__deepcopy__") for cls in (nn.Parameter, nn.UninitializedParameter)),
]


@pytest.fixture(autouse=True)
def no_trace() -> Iterator[None]:
    """Nothing waits and nothing is wrapped when a test's models are gone."""
    gc.collect()  # Models of earlier tests.
    before = [getattr(cls, name) for cls, name in PATCHED]
    yield
    gc.collect()
    assert _pending == {} and patches._count == 0
    assert [getattr(cls, name) for cls, name in PATCHED] == before


def lazy() -> nn.Module:
    return nn.Sequential(
        nn.LazyConv2d(6, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5), nn.Linear(5, 2)
    )


def ready() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 5), nn.Linear(5, 2)
    )


IMAGE = torch.ones(2, 3, 8, 8)


def test_they_wait_and_are_filled_when_they_materialize() -> None:
    with autoinit(CFG, seed=0) as run:
        model = lazy()
    waiting = ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"]
    assert [fqn for fqn, entry in run.report.items() if entry.outcome == "pending"] == waiting
    assert run.report.uncovered == ()
    assert (run.report["0.weight"].gets, run.report["0.bias"].gets) == ("Normal(std=0.05)", "Constant(val=0.0)")
    model(IMAGE)
    assert set(run.report.outcomes) == {"filled"}
    assert run.report["0.weight"].fill == Normal(0.0, 0.05) and run.report["1.weight"].fill == Constant(0.5)
    assert run.report["0.weight"].shape == (6, 3, 3, 3)


def test_fans_are_read_when_there_is_a_shape() -> None:
    model = nn.Sequential(nn.LazyConvTranspose2d(64, 3))
    report = initialize(model, dict(type="LeCun", layer="ConvTranspose2d", distribution="normal"), seed=0)
    model(torch.ones(1, 16, 4, 4))
    assert report["0.weight"].fans[0].fan_in == 144
    assert report["0.weight"].fill == Normal(0.0, 1 / 12)


def test_called_in_the_block_they_are_filled_there() -> None:
    with autoinit(CFG, seed=0):
        model = lazy()
        model(IMAGE)
        assert model[1].weight.eq(0.5).all() and model[0].weight.std() < 0.1
        with torch.no_grad():
            model[0].weight.fill_(3.0)
    assert model[0].weight.eq(3.0).all()


def test_what_was_loaded_in_the_block_is_kept() -> None:
    source = ready()
    with autoinit(dict(type="Constant", name=["4", "5"], val=9)) as run:
        model = lazy()
        model[4].load_state_dict(source[4].state_dict())
    model(IMAGE)
    assert torch.equal(model[4].weight, source[4].weight) and model[5].weight.eq(9).all()
    assert run.report["4.weight"].outcome.startswith("kept: data")


def test_without_a_rule_they_are_left_alone() -> None:
    with autoinit(CFG[:1], seed=0) as run:
        model = lazy()
    model(IMAGE)
    assert run.report["1.weight"].outcome == "kept"
    assert model[1].weight.eq(1).all()
    assert run.report.uncovered == ("1.weight", "1.bias")


def test_a_later_initialization_beats_an_earlier_one() -> None:
    model = lazy()
    initialize(model, CFG, seed=0)
    second = initialize(model, dict(type="Constant", layer="Linear", val=9))
    model(IMAGE)
    assert model[4].weight.eq(9).all()
    assert model[1].weight.eq(0.5).all()
    assert second["4.weight"].outcome == "filled"


def test_materialized_by_hand() -> None:
    model = lazy()
    initialize(model, CFG, seed=0)
    model[4].initialize_parameters(torch.ones(1, 216))
    assert float(model[4].weight.detach().std()) == pytest.approx(0.05, rel=0.2)
    assert nn.parameter.is_lazy(model[0].weight)


def test_a_seed_that_is_drawn_is_drawn_when_the_block_ends() -> None:
    torch.manual_seed(3)
    with autoinit(CFG[0]) as run:
        model = nn.Sequential(nn.LazyLinear(4))
    torch.manual_seed(4)
    model(torch.ones(1, 30))
    twin = nn.Sequential(nn.Linear(30, 4))
    initialize(twin, CFG[0], seed=run.report.seed)
    assert torch.equal(model[0].weight, twin[0].weight)


def test_constants_draw_no_seed() -> None:
    before = torch.get_rng_state()
    with autoinit(CFG[1]) as run:
        nn.LazyBatchNorm2d()
    assert run.reports == [] or run.report.seed is None
    model = nn.LazyBatchNorm2d()
    assert initialize(model, CFG[1]).seed is None
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_put_on_the_module() -> None:
    plain = lazy()
    with autoinit(CFG, seed=0):
        model = lazy()
    assert [vars(module).keys() for module in model.modules()] == [vars(module).keys() for module in plain.modules()]
    for module, other in zip(model.modules(), plain.modules(), strict=True):
        assert len(module._forward_pre_hooks) == len(other._forward_pre_hooks)
    assert b"autoinit" not in pickle.dumps(model)
    assert plain(IMAGE).shape == (2, 2)


@pytest.mark.parametrize("layer", ["BatchNorm2d", nn.BatchNorm2d])
def test_a_plan_of_a_lazy_model_is_applied_to_one_that_is_not(layer: object) -> None:
    cfg = [CFG[0], dict(CFG[1], layer=layer)]
    decided = plan(lazy(), cfg)
    assert decided["1.weight"].layer == "BatchNorm2d"
    other, direct = ready(), ready()
    report = decided.apply(other, seed=1)
    assert report == initialize(direct, cfg, seed=1)
    assert all(torch.equal(one, two) for one, two in zip(other.parameters(), direct.parameters(), strict=True))


@pytest.mark.parametrize("build", [nn.Sequential, lambda *layers: nn.Sequential(nn.Sequential(*layers))])
def test_an_own_subclass(build: Callable[..., nn.Module]) -> None:
    class Special(nn.LazyLinear):
        def initialize_parameters(self, *args: object) -> None:
            super().initialize_parameters(*args)  # type: ignore[arg-type]
            self.seen = True

    model = build(Special(4))
    initialize(model, CFG[0], seed=0)
    model(torch.ones(1, 300))
    special = next(module for module in model.modules() if hasattr(module, "seen"))
    assert float(special.weight.detach().std()) == pytest.approx(0.05, rel=0.1)


def test_a_rule_that_keeps_them_keeps_them() -> None:
    report = initialize(model := nn.Sequential(nn.LazyLinear(4)), dict(type="Keep", layer="Linear"))
    model(torch.ones(1, 3))
    assert set(report.outcomes) == {"kept"}


@pytest.mark.parametrize("in_block", [True, False])
def test_a_copy_made_before_the_first_call_waits_for_its_own(in_block: bool) -> None:
    with autoinit(CFG[0], seed=0) as run:
        model = nn.Sequential(nn.LazyConv2d(6, 3), nn.Flatten(), nn.LazyLinear(5))  # A LazyBatchNorm has no copies.
        copied = copy.deepcopy(model) if in_block else nn.Identity()
    if not in_block:
        copied = copy.deepcopy(model)
    assert all(len(queue) == 1 for queue in _pending.values()), "each waits once"
    copied(IMAGE)
    assert set(run.reports[0].outcomes) == {"pending"}, "the report is of the original"
    assert copied[2].bias.eq(0).all() and float(copied[2].weight.detach().std()) == pytest.approx(0.05, rel=0.1)
    model(IMAGE)
    if not in_block:
        assert all(torch.equal(one, two) for one, two in zip(model.parameters(), copied.parameters(), strict=True))


def test_a_first_call_on_another_thread() -> None:
    with autoinit(CFG, seed=0) as run:
        model = lazy()
    thread = threading.Thread(target=model, args=(IMAGE,))
    thread.start()
    thread.join()
    assert set(run.report.outcomes) == {"filled"}


@pytest.mark.compiles
def test_a_first_call_that_is_compiled() -> None:
    with autoinit(CFG[0], seed=0) as run:
        model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
        waiting = nn.Sequential(nn.LazyLinear(4))
    torch.compile(model, backend="eager", fullgraph=True, dynamic=False)(torch.ones(1, 300))
    assert set(run.reports[0].outcomes) == {"filled"} and set(run.reports[1].outcomes) == {"pending"}
    assert float(model[0].weight.detach().std()) == pytest.approx(0.05, rel=0.1)
    waiting(torch.ones(1, 3))


@pytest.mark.compiles
def test_a_lazy_layer_that_is_compiled_itself() -> None:
    report = initialize(model := nn.LazyLinear(4), dict(type="Constant", layer="Linear", val=0.5))
    model.compile(backend="eager", dynamic=False)
    assert model(torch.ones(1, 6)).eq(3).all() and set(report.outcomes) == {"filled"}


def test_a_tied_parameter_is_filled_once_and_not_kept_as_loaded() -> None:
    model = nn.Sequential(nn.LazyLinear(4, bias=False), nn.LazyLinear(4, bias=False))
    model[1].weight = model[0].weight
    report = initialize(model, dict(type="Constant", layer="Linear", val=0.5))
    model[1](torch.ones(1, 4))
    model(torch.ones(1, 4))
    assert report["0.weight"].outcome == "filled" and model[0].weight.eq(0.5).all()
