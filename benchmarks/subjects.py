"""The models and configs that are measured, and the same initialization written for each rival."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.zoo.operators import torchvision_operators

STD = 0.02

VIT_CFG: list[dict[str, Any]] = [
    dict(type="TruncNormal", layer="Linear", std=STD, a=-2 * STD, b=2 * STD),
    dict(type="Kaiming", layer="Conv2d"),
    dict(type="Constant", layer="LayerNorm", val=1),
]
LINEAR_CFG: list[dict[str, Any]] = [dict(type="Normal", layer="Linear", std=STD)]
ABSENT_CFG: list[dict[str, Any]] = [dict(type="Normal", layer="ConvTranspose3d", std=STD)]


def vit(name: str, quick: bool) -> nn.Module:
    """A vision transformer of torchvision: `vit_b_16` or `vit_l_16`, or one of a few thousand parameters."""
    torchvision_operators()
    from torchvision import models

    if not quick:
        return getattr(models, name)()
    sizes = dict(image_size=16, patch_size=8, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4)
    return models.VisionTransformer(num_layers=2, **sizes)


def linears(count: int) -> nn.Sequential:
    """Many layers that are all overhead."""
    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(count)))


@torch.no_grad()
def initialize_by_hand(model: nn.Module) -> None:
    """`VIT_CFG` as people write it."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=STD, a=-2 * STD, b=2 * STD)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def initialize_linears_by_hand(model: nn.Module) -> None:
    """`LINEAR_CFG` as people write it."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=STD)
            nn.init.zeros_(module.bias)


def initialize_with_mmengine(model: nn.Module, cfg: list[dict[str, Any]]) -> None:
    """What a model under OpenMMLab's `BaseModule` does in `init_weights()`."""
    from mmengine.logging import MMLogger
    from mmengine.model import BaseModule

    # A module is only initialized once, so each call gets a new one around the model.
    class Retrofitted(BaseModule):
        def __init__(self) -> None:
            super().__init__(init_cfg=cfg)
            self.model = model

    logger = MMLogger.get_current_instance()
    level = logger.level
    # Its three lines a parameter would fill the terminal, and the time they take is not what is measured.
    logger.setLevel("ERROR")
    try:
        Retrofitted().init_weights()
    finally:
        logger.setLevel(level)
