"""Blocks: what is built, copied, loaded and called in them."""

from __future__ import annotations

import copy

import torch
from torch import nn

SEVEN = dict(type="Constant", val=7, layer="Linear")
NORMAL = dict(type="Normal", layer="Linear")
X = torch.ones(1, 2)


class Net(nn.Module):
    """Two layers, one of them cloned by deepcopy."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = copy.deepcopy(self.first)
        self.norm = nn.LayerNorm(4)
        self.register_buffer("noise", torch.rand(4))


def constant(value: float, layer: str = "Linear") -> dict[str, object]:
    return dict(type="Constant", val=value, layer=layer)


def is_seven(*layers: nn.Linear) -> bool:
    return all(bool((layer.weight == 7).all() and (layer.bias == 0).all()) for layer in layers)


def untouched_class() -> bool:
    return "FunctionWrapper" not in type(nn.Module.__init__).__name__ and "__reduce_ex__" not in nn.Module.__dict__
