"""The record of what was built in a block."""

from __future__ import annotations

import gc
import threading

import torch
from torch import nn

from autoinit.interception.census import Census


def test_order_membership_and_roots() -> None:
    census = Census()
    inner = nn.Linear(1, 1)
    outer = nn.Sequential(inner)
    alone, activation = nn.LayerNorm(2), nn.ReLU()
    for module in (outer, inner, alone, activation):
        census.add(module)
    assert list(census) == [outer, inner, alone, activation]
    assert inner in census and nn.ReLU() not in census
    assert census.roots() == [outer, alone]
    census.final.add(id(outer))
    assert census.roots() == [inner, alone], "what is final is no parent any more"
    buffers = nn.BatchNorm1d(2, affine=False)
    census.add(buffers)
    assert census.roots() == [inner, alone, buffers]


def test_it_keeps_nothing_alive() -> None:
    census = Census()
    census.add(nn.Linear(1, 1))
    gc.collect()
    assert list(census) == []
    assert census.total == 1


def test_an_id_that_is_used_again_inherits_nothing() -> None:
    census = Census()
    for _ in range(200):
        module = nn.Linear(1, 1)
        census.add(module)
        assert module in census
        assert id(module) not in census.final
        census.final.add(id(module))
        del module


def test_a_module_that_is_added_twice_is_one() -> None:
    census = Census()
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    for module in (first, second, first):
        census.add(module)
    assert census.roots() == [first, second]


def test_membership_is_asked_from_many_threads_while_it_grows() -> None:
    census = Census()
    modules = [nn.ReLU() for _ in range(2000)]
    wrong: list[int] = []

    def ask() -> None:
        for index, module in enumerate(modules):
            while module not in census:
                pass
            if torch.nn.Module() in census:
                wrong.append(index)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for module in modules:
        census.add(module)
    for thread in threads:
        thread.join()
    assert not wrong
