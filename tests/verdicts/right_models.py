"""Models whose weights are what their configs say: what `verify` finds wrong with them is a false alarm."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import torch
from torch import nn

from autoinit import Verdict, initialize, verify

DTYPES = (torch.float32, torch.float32, torch.bfloat16, torch.float16)
SIZES = (1, 2, 3, 5, 8, 16, 30, 64)

ELEMENTWISE = (
    dict(type="Normal", std=0.02),
    dict(type="Normal", mean=1, std=0.1),
    dict(type="Uniform", a=-1, b=2),
    dict(type="Uniform", a=0, b=1),
    dict(type="TruncNormal", std=1, a=-2, b=2),
    dict(type="TruncNormal", std=0.02, a=-2, b=2),
    dict(type="TruncNormal", std=1, a=1, b=5),
)
BY_FAN = (
    dict(type="Kaiming"),
    dict(type="Xavier", distribution="uniform"),
    dict(type="Caffe2Xavier"),
    dict(type="LeCun"),
    dict(type="VarianceScaling", mode="fan_avg"),
)
WHOLE = (dict(type="Orthogonal", gain=1.4), dict(type="Sparse", sparsity=0.1), dict(type="Eye"))


def build(choose: Random) -> tuple[nn.Module, list[dict[str, Any]]]:
    a, b, c, d = (choose.choice(SIZES) for _ in range(4))
    model = nn.Sequential(
        nn.Linear(a, b),
        nn.LSTM(b, c) if choose.random() < 0.2 else nn.Linear(b, c),
        nn.Conv2d(c, 2 * d, 3, groups=1),
        nn.Embedding(choose.choice((3, 50)), d),
        nn.MultiheadAttention(2 * d, 2),
        nn.LayerNorm(d),
    ).to(choose.choice(DTYPES))
    every = (*ELEMENTWISE, *BY_FAN, *WHOLE)
    cfg = [
        {**choose.choice((*ELEMENTWISE, *BY_FAN)), "layer": ["Conv2d", "LSTM"], "params": "weight*"},
        {**choose.choice(every), "layer": ["Linear", "Embedding"], "bias": choose.choice((0, 1, 0.5))},
        {**choose.choice((*ELEMENTWISE, *BY_FAN)), "params": "in_proj_weight"},
        {"type": "Constant", "val": 1, "layer": "LayerNorm"},
    ]
    if choose.random() < 0.3:
        cfg.append({**choose.choice(ELEMENTWISE), "params": "bias*", "layer": ["Linear", "LSTM"]})
    return model, cfg


def verdicts(count: int, alpha: float, seed: int) -> Iterator[Verdict]:
    choose = Random(seed)
    for _ in range(count):
        model, cfg = build(choose)
        report = initialize(model, cfg, seed=choose.getrandbits(40), unmatched="ignore")
        yield verify(model, report, alpha=alpha)


def false_alarms(count: int, alpha: float, seed: int) -> list[str]:
    """The first failure of each right model that fails."""
    return [str(verdict.failures[0]) for verdict in verdicts(count, alpha, seed) if not verdict.ok]
