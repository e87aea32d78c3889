"""A function for `model.apply`, and the config that does the same."""

import torch
from torch import nn

from autoinit import autoinit, verify


def init_fn(module):
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


CFG = [
    dict(type="TruncNormal", layer="Linear", std=0.02, a=-0.04, b=0.04),
    dict(type="Constant", layer="LayerNorm", val=1),
]


def build():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 256, batch_first=True), num_layers=2)


# Before: the model of today agrees with the config, whatever initialized it.
torch.manual_seed(0)
print(verify(build().apply(init_fn), CFG).caption)

# After: one block instead of the function and the call.
with autoinit(CFG, seed=0) as run:
    model = build()
print(run.report.caption)

# The parameters that neither the function nor the config covers.
print(*run.report.uncovered, sep="\n")
