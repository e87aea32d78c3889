"""Generators of devices, by a made-up one: deferral itself is tested on the CPU, and by `make gpu` on a GPU."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from autoinit.construction import postponed
from autoinit.construction.postponed import generator_of, is_in_order

DEVICE = torch.device("xpu", 1)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    found = ModuleType("torch.xpu")
    found.default_generators = [torch.Generator(), torch.Generator()]  # type: ignore[attr-defined]
    found.current_stream = found.default_stream = lambda device: 0  # type: ignore[attr-defined]
    monkeypatch.setattr(torch, "get_device_module", lambda device: found)
    monkeypatch.setattr(postponed, "ACCELERATORS", ((found, found),))
    return found


def test_generators_are_those_of_the_device(module: ModuleType) -> None:
    assert generator_of(DEVICE) is module.default_generators[1]
    assert generator_of(torch.device("cpu")) is torch.default_generator


@pytest.mark.parametrize("current", [0, 7])
def test_a_stream_of_the_users_is_not_in_order(module: ModuleType, current: int) -> None:
    module.current_stream = lambda device: current  # type: ignore[attr-defined]
    assert is_in_order(DEVICE) == (current == 0)


@pytest.mark.parametrize("device", ["meta", "mps", "xpu:1"])
def test_a_device_whose_generator_is_not_known_is_not_in_order(device: str) -> None:
    assert not is_in_order(torch.device(device))
