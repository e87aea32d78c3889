"""FSDP2: plan on the meta device, shard, and let each rank draw its shard.

Run it on two processes: torchrun --nproc-per-node 2 with_fsdp2.py
"""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

from autoinit import plan

CFG = [
    dict(type="TruncNormal", layer="Linear", std=0.02, a=-0.04, b=0.04),
    dict(type="Constant", layer="LayerNorm", val=1),
]


def build():
    return nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.LayerNorm(256), nn.Linear(256, 64))


if "RANK" in os.environ:
    dist.init_process_group("gloo")
else:  # alone, without torchrun
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())

with torch.device("meta"):
    model = build()
decided = plan(model, CFG, require_coverage=True)
fully_shard(model)
model.to_empty(device="cpu")
report = decided.apply(model, seed=0)

whole = build()
decided.apply(whole, seed=0)
same = torch.equal(model[0].weight.full_tensor(), whole[0].weight)
if dist.get_rank() == 0:
    print(report.caption, "| the same values as unsharded:", same)
dist.destroy_process_group()
