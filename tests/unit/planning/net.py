"""A model with a class below `Linear`, a property, nested names and a parameter of its own; plans of constants."""

from __future__ import annotations

import torch
from torch import nn

from autoinit import plan
from tests.models import SubSubLinear


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 2, 3)
        self.norm1 = nn.BatchNorm2d(2)
        self.attn = nn.Module()
        self.attn.proj = nn.Linear(4, 4)

    @property
    def norm(self) -> nn.Module:
        return self.norm1


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(Block(), Block())
        self.layer2 = nn.Sequential(Block())
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.head = SubSubLinear(4, 3)


def constant(value: float, **keys: object) -> dict[str, object]:
    return dict(type="Constant", val=value, **keys)


def values(model: nn.Module, cfg: object, **options: object) -> dict[str, float]:
    """What a Constant-only plan gives to each covered parameter."""
    decided = plan(model, cfg, **options)  # type: ignore[arg-type]
    return {fqn: entry.fill.mean for fqn, entry in decided.items() if entry.fill is not None}  # type: ignore[attr-defined]
