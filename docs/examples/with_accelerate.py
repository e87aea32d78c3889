"""Accelerate: plan a model without memory for it, then initialize it before `prepare`."""

import torch
from accelerate import Accelerator, init_empty_weights
from torch import nn

from autoinit import plan

CFG = [
    dict(type="Kaiming", layer="Linear", mode="fan_in"),
    dict(type="Constant", name="2", val=0),
]


def build():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))


with init_empty_weights():
    model = build()
decided = plan(model, CFG, require_coverage=True)
print(decided.caption)

accelerator = Accelerator(cpu=True)
model.to_empty(device=accelerator.device)
report = decided.apply(model, seed=0)
model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
print(report.caption)
