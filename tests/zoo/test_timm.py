"""timm: models whose constructors call `init_weights`, and raw parameters that have no `weight` in their names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import timm
from torch import nn

from autoinit.fills import Constant, Normal, TruncNormal, Uniform

from .retrofit import Case, RetrofitTests, retrofit


def build(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, **options)


VIT = dict(embed_dim=96, num_heads=3, img_size=64, patch_size=8, num_classes=50)

CASES = {
    "vit_tiny": Case(
        build=build("vit_tiny_patch16_224", depth=3, **VIT),
        longer=build("vit_tiny_patch16_224", depth=4, **VIT),
        cfg=[
            dict(type="TruncNormal", layer="Linear", std=0.05, a=-0.1, b=0.1),
            dict(type="Normal", params="*_embed", std=0.2),
            dict(type="Constant", layer="LayerNorm", val=1, bias=0.125),
        ],
        fills={
            "pos_embed": Normal(0.0, 0.2),
            "blocks.2.attn.qkv.weight": TruncNormal(0.0, 0.05, -0.1, 0.1),
            "head.bias": Constant(0.0),
            "blocks.0.norm1.bias": Constant(0.125),
        },
        uncovered=("cls_token", "patch_embed.proj.weight", "patch_embed.proj.bias"),
    ),
    "resnet18": Case(
        build=build("resnet18"),
        longer=build("resnet18", layers=(3, 2, 2, 2)),
        cfg=[
            dict(type="Kaiming", layer="Conv2d", mode="fan_in", distribution="uniform"),
            dict(type="Constant", layer="_BatchNorm", val=1, override=dict(type="Constant", name="bn1", val=0.5)),
        ],
        fills={
            "conv1.weight": Uniform(-math.sqrt(6 / (3 * 49)), math.sqrt(6 / (3 * 49))),
            "bn1.weight": Constant(0.5),
            # timm's init_weights sets these to zero.
            "layer1.0.bn2.weight": Constant(1.0),
        },
        uncovered=("fc.weight", "fc.bias"),
    ),
    "convnext_atto": Case(
        build=build("convnext_atto", num_classes=50),
        longer=build("convnext_atto", num_classes=50, depths=(2, 2, 6, 3)),
        cfg=[
            dict(type="LeCun", name="stem.0"),
            dict(type="Normal", name="**.mlp.*", std=0.01),
            dict(type="Constant", params="gamma", val=0.1),
        ],
        fills={"stages.3.blocks.0.mlp.fc2.weight": Normal(0.0, 0.01), "stages.0.blocks.0.gamma": Constant(0.1)},
        uncovered=("stages.0.blocks.0.conv_dw.weight", "head.fc.weight"),
    ),
}


class TestTimm(RetrofitTests):
    pass


def test_an_init_weights_that_the_constructor_has_not_run_beats_rules() -> None:
    # P3: weight_init="skip" leaves it to whoever builds the model, here to autoinit.
    case = CASES["vit_tiny"]
    model, report = retrofit(
        build("vit_tiny_patch16_224", depth=1, weight_init="skip", **VIT), case.cfg, own_init="run"
    )
    assert set(report.outcomes) == {"own init_weights"}
    assert model.pos_embed.std() < 0.05
    assert not model.norm.bias.any()
