"""Generators of devices, by one that is made up: deferral itself is tested on the CPU, and by `make gpu` on a GPU."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor

from autoinit.construction import generators
from autoinit.construction.generators import is_in_order, is_same, set_state, state_of

DEVICE = torch.device("xpu", 1)


class Generator:
    def __init__(self) -> None:
        self.state = torch.zeros(16, dtype=torch.uint8)

    def get_state(self) -> Tensor:
        return self.state

    def set_state(self, state: Tensor) -> None:
        self.state = state


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    found = ModuleType("torch.xpu")
    found.default_generators = [Generator(), Generator()]  # type: ignore[attr-defined]
    found.current_stream = found.default_stream = lambda device: 0  # type: ignore[attr-defined]
    monkeypatch.setattr(torch, "get_device_module", lambda device: found)
    monkeypatch.setattr(generators, "ACCELERATORS", ((found, found),))
    return found


def test_states_are_those_of_the_device(module: ModuleType) -> None:
    other = torch.ones(16, dtype=torch.uint8)
    assert not is_same(state_of(DEVICE), other)
    set_state(DEVICE, other)
    assert is_same(state_of(DEVICE), other)
    assert not is_same(state_of(torch.device("xpu", 0)), other)


@pytest.mark.parametrize("current", [0, 7])
def test_a_stream_of_the_users_is_not_in_order(module: ModuleType, current: int) -> None:
    module.current_stream = lambda device: current  # type: ignore[attr-defined]
    assert is_in_order(DEVICE) == (current == 0)


@pytest.mark.parametrize("device", ["meta", "mps", "xpu:1"])
def test_a_device_whose_generator_is_not_known_is_not_in_order(device: str) -> None:
    assert not is_in_order(torch.device(device))
