"""timm: the ViT of the JAX code, in timm's own implementation."""

import timm

from autoinit import autoinit, verify

CFG = [
    dict(type="Xavier", layer="Linear", distribution="uniform"),
    dict(type="Normal", name="**.mlp.*", params="bias", std=1e-6),
    dict(type="LeCun", layer="Conv2d"),
    dict(type="Constant", layer="LayerNorm", val=1),
    dict(type="Normal", params="pos_embed", std=0.02),
    dict(type="Constant", params="cls_token", val=0),
    dict(type="Constant", name="head", val=0),
]
with autoinit(CFG, seed=0, require_coverage=True) as run:
    model = timm.create_model("vit_tiny_patch16_224", depth=2)
print(run.report)
print(verify(model, run.report).caption)
