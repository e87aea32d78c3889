"""`torch.nn.init` in a constructor, and the config that replaces it."""

import math

import torch
from torch import nn

from autoinit import autoinit, verify


class ByHand(nn.Module):
    def __init__(self, depth=4):
        super().__init__()
        self.embed = nn.Embedding(100, 64)
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(depth))
        self.scale = nn.Parameter(torch.empty(64))
        self.head = nn.Linear(64, 10)
        nn.init.normal_(self.embed.weight, std=0.02)
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight, gain=1 / math.sqrt(2 * depth))
            nn.init.zeros_(layer.bias)
        nn.init.ones_(self.scale)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, -math.log(9))


class Net(nn.Module):
    def __init__(self, depth=4):
        super().__init__()
        self.embed = nn.Embedding(100, 64)
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(depth))
        self.scale = nn.Parameter(torch.empty(64))
        self.head = nn.Linear(64, 10)


def cfg(depth=4):
    return [
        dict(type="Normal", layer="Embedding", std=0.02),
        dict(type="Xavier", name="layers.*", distribution="uniform", gain=1 / math.sqrt(2 * depth)),
        dict(type="Constant", params="scale", val=1),
        dict(type="Constant", name="head", val=0, bias_prob=0.1),
    ]


torch.manual_seed(0)
print("by hand: ", verify(ByHand(), cfg()).caption)
with autoinit(cfg(), seed=0, require_coverage=True):
    model = Net()
print("autoinit:", verify(model, cfg()).caption)
