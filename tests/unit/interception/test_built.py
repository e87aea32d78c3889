"""The record of what was built in a block."""

from __future__ import annotations

import gc
import threading

import torch
from torch import nn

from autoinit.interception.built import BuiltModules


def test_order_membership_and_roots() -> None:
    built = BuiltModules()
    inner = nn.Linear(1, 1)
    outer = nn.Sequential(inner)
    alone, activation = nn.LayerNorm(2), nn.ReLU()
    for module in (outer, inner, alone, activation):
        built.add(module)
    assert list(built) == [outer, inner, alone, activation]
    assert inner in built and nn.ReLU() not in built
    assert built.roots() == [outer, alone]
    built.final.add(id(outer))
    assert built.roots() == [inner, alone], "what is final is no parent any more"
    buffers = nn.BatchNorm1d(2, affine=False)
    built.add(buffers)
    assert built.roots() == [inner, alone, buffers]


def test_it_keeps_nothing_alive() -> None:
    built = BuiltModules()
    built.add(nn.Linear(1, 1))
    gc.collect()
    assert list(built) == []
    assert not built.is_empty


def test_an_id_that_is_used_again_inherits_nothing() -> None:
    built = BuiltModules()
    for _ in range(200):
        module = nn.Linear(1, 1)
        built.add(module)
        assert module in built
        assert id(module) not in built.final
        built.final.add(id(module))
        del module


def test_a_module_that_is_added_twice_is_one() -> None:
    built = BuiltModules()
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    for module in (first, second, first):
        built.add(module)
    assert built.roots() == [first, second]


def test_membership_is_asked_from_many_threads_while_it_grows() -> None:
    built = BuiltModules()
    modules = [nn.ReLU() for _ in range(2000)]
    wrong: list[int] = []

    def ask() -> None:
        for index, module in enumerate(modules):
            while module not in built:
                pass
            if torch.nn.Module() in built:
                wrong.append(index)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for module in modules:
        built.add(module)
    for thread in threads:
        thread.join()
    assert not wrong
