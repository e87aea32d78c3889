"""Roots: which modules of a block are models of their own, and in which order (S1)."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from autoinit import autoinit

from . import NORMAL, SEVEN, X, is_seven


def test_roots_are_the_outermost_modules_with_parameters_or_buffers_in_order() -> None:
    with autoinit([]) as run:
        inner = nn.Linear(1, 1)
        outer, alone, activation = nn.Sequential(inner), nn.LayerNorm(2), nn.ReLU()
        buffers = nn.BatchNorm1d(2, affine=False)
    assert [report.model for report in run.reports] == ["Sequential", "LayerNorm", "BatchNorm1d"]
    assert [list(report) for report in run.reports] == [["0.weight", "0.bias"], ["weight", "bias"], []]
    assert all(set(report.outcomes) <= {"kept"} for report in run.reports)
    del outer, alone, activation, buffers


def test_a_block_keeps_no_module_alive_and_an_id_that_is_used_again_inherits_nothing() -> None:
    with autoinit(SEVEN) as run:
        for _ in range(50):
            module = nn.Linear(2, 2)
            module(X)
            assert is_seven(module)
            reference = weakref.ref(module)
            del module
            assert reference() is None
    assert len(run.reports) == 50


def test_a_new_head_on_an_old_model_is_a_root_of_its_own() -> None:
    old = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    trunk = old[0].weight.clone()
    with autoinit(SEVEN) as run:
        old[1] = nn.Linear(3, 5)
    assert is_seven(old[1])
    assert torch.equal(old[0].weight, trunk)
    assert run.report.model == "Linear"


def test_two_base_classes_that_both_initialize_the_module() -> None:
    class Left(nn.Module):
        def __init__(self) -> None:
            nn.Module.__init__(self)

    class Both(Left, nn.Linear):
        def __init__(self) -> None:
            Left.__init__(self)
            nn.Linear.__init__(self, 2, 2)

    with autoinit(SEVEN) as run:
        model = Both()
    assert is_seven(model)
    assert len(run.reports) == 1


def test_a_layer_in_two_roots_is_filled_once_under_its_name_in_the_first() -> None:
    with autoinit(NORMAL, seed=0) as run:
        shared = nn.Linear(2, 2)
        first, second = nn.Sequential(shared), nn.Sequential(nn.ReLU(), shared)
    assert run.reports[0]["0.weight"].outcome == "filled"
    assert run.reports[1]["1.weight"].kept == "shared with an earlier root of the block"
    with autoinit(NORMAL, seed=0):
        alone = nn.Sequential(nn.Linear(2, 2))
    assert torch.equal(first[0].weight, alone[0].weight)
    assert first[0] is second[1]


def in_a_cycle() -> None:
    dropped = nn.Linear(2, 2)
    dropped.__dict__["itself"] = dropped


def with_a_computed_weight() -> None:
    nn.Sequential(weight_norm(nn.Linear(2, 2)))  # torch's property of the class that was made for it holds it.


def with_a_hook() -> None:
    dropped = nn.Linear(2, 2)
    dropped.register_forward_hook(lambda *_: dropped)


@pytest.mark.parametrize("drop", [in_a_cycle, with_a_computed_weight, with_a_hook])
def test_a_dropped_model_that_waits_for_the_garbage_collector_is_no_root(drop: object) -> None:
    layers = []
    gc.disable()
    try:
        for dropped in (0, 2):
            with autoinit(dict(type="Normal", layer="Embedding"), seed=0) as run:
                for _ in range(dropped):
                    drop()  # type: ignore[operator]
                layers.append(nn.Embedding(3, 3))
            assert run.report.root == 0
    finally:
        gc.enable()
    assert torch.equal(layers[0].weight, layers[1].weight)
