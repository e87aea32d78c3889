"""Small models with one of everything, and names that are hard to match."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from tests.data.zoo_model import Zoo


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(4, 2)
        self.fc1 = nn.Linear(4, 8)
        self.fc2 = nn.Linear(8, 4, bias=False)
        self.norm = nn.LayerNorm(4)
        self.pos_embed = nn.Parameter(torch.zeros(1, 3, 4))


class Mixed(nn.Module):
    """Blocks, ties, half precision, complex, integers, frozen, empty and scalar parameters, computed weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])
        self.embed = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight
        self.half = nn.Linear(4, 4, dtype=torch.bfloat16)
        self.normed = weight_norm(nn.Linear(4, 4))
        self.spectral = spectral_norm(nn.Linear(4, 3))
        self.phase = nn.Parameter(torch.zeros(3, 3, dtype=torch.complex64))
        self.count = nn.Parameter(torch.zeros(3, dtype=torch.int64), requires_grad=False)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.nothing = nn.Parameter(torch.zeros(0, 4))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.conv = nn.Conv2d(4, 8, 3, groups=4)
        self.norm = nn.BatchNorm2d(8)
        self.lstm = nn.LSTM(3, 4, num_layers=2)


class Named(nn.Module):
    """Names of many letters, of other scripts, and with wildcards in them."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.Module()
        self.add_module("a" * 40, inner)
        for name in ("aaaa", "conv-1", "Straße", "重み", "layer[0]", "re:conv", "*", "**", "w" * 400):
            inner.add_module(name, nn.Linear(2, 1))
        deep: nn.Module = inner
        for _ in range(12):
            deeper = nn.Module()
            deep.add_module("layer", deeper)
            deep = deeper
        deep.add_module("conv", nn.Linear(1, 2))
        self.layer1 = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Sequential(nn.Linear(2, 2)))


def zoo() -> nn.Module:
    """Every layer kind once, with the names that overrides of real configs are for."""
    return Zoo(("conv_cls", "conv_reg", "fc_cls"))


MODELS = {"zoo": zoo, "mixed": Mixed, "named": Named}
