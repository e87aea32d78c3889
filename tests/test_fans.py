"""Fans as torch reads them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoinit.fans import Fans, torch_fans


@given(shape=st.lists(st.integers(0, 9), min_size=2, max_size=6))
def test_fans_are_those_of_torch(shape: list[int]) -> None:
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(torch.empty(shape, device="meta"))
    assert torch_fans(shape) == Fans(fan_in=fan_in, fan_out=fan_out, convention="torch")


@pytest.mark.parametrize("shape", [(), (3,), torch.Size([5])])
def test_vectors_and_scalars_have_none(shape: tuple[int, ...]) -> None:
    assert torch_fans(shape) is None
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [
        (nn.Linear(5, 7), 5, 7),
        (nn.Conv2d(3, 8, (3, 5)), 45, 120),
        (nn.Conv2d(8, 8, 3, groups=8), 9, 72),
        (nn.Embedding(10, 4), 4, 10),
    ],
    ids=str,
)
def test_layers(layer: nn.Module, fan_in: int, fan_out: int) -> None:
    fans = torch_fans(layer.weight.shape)
    assert (fans.fan_in, fans.fan_out) == (fan_in, fan_out)
