"""torchvision: models that call `torch.nn.init` in their constructors, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn
from torchvision.models import ResNet, SwinTransformer, VisionTransformer
from torchvision.models.resnet import BasicBlock

from autoinit.fills import Constant, Normal, TruncNormal, Uniform

from .retrofit import Case, RetrofitTests


def resnet(*layers: int) -> Callable[[], nn.Module]:
    return lambda: ResNet(BasicBlock, list(layers))


def vit(layers: int) -> Callable[[], nn.Module]:
    sizes = dict(image_size=64, patch_size=8, num_heads=3, hidden_dim=96, mlp_dim=192, num_classes=50)
    return lambda: VisionTransformer(num_layers=layers, **sizes)


def swin(*depths: int) -> Callable[[], nn.Module]:
    heads = [3 * 2**stage for stage in range(len(depths))]
    sizes = dict(patch_size=[4, 4], embed_dim=48, num_heads=heads, window_size=[7, 7], num_classes=50)
    return lambda: SwinTransformer(depths=list(depths), **sizes)


CASES = {
    "resnet18": Case(
        build=resnet(2, 2, 2, 2),
        longer=resnet(2, 3, 2, 2),
        cfg=[
            dict(type="Kaiming", layer="Conv2d", override=dict(type="Xavier", name="fc", bias_prob=0.01)),
            dict(type="Constant", layer="BatchNorm2d", val=1, name="**.bn2", bias=None),
        ],
        fills={
            "layer2.0.conv1.weight": Normal(0.0, math.sqrt(2 / (128 * 9))),
            "fc.weight": Normal(0.0, math.sqrt(2 / (512 + 1000))),
            "fc.bias": Constant(-math.log(99)),
            "layer4.1.bn2.weight": Constant(1.0),
        },
        uncovered=("bn1.weight", "layer4.1.bn2.bias", "layer1.0.bn1.weight", "layer1.0.bn1.running_var"),
    ),
    "vision_transformer": Case(
        build=vit(2),
        longer=vit(3),
        cfg=[
            dict(type="TruncNormal", layer="Linear", std=0.02, a=-0.04, b=0.04),
            dict(type="Xavier", params="in_proj_weight", distribution="uniform"),
            dict(type="Constant", layer="LayerNorm", val=1),
        ],
        fills={
            # A subclass of Linear under nn.MultiheadAttention.
            "encoder.layers.encoder_layer_1.self_attention.out_proj.weight": TruncNormal(0.0, 0.02, -0.04, 0.04),
            "encoder.layers.encoder_layer_0.self_attention.in_proj_weight": Uniform(
                -math.sqrt(6 / (96 + 3 * 96)), math.sqrt(6 / (96 + 3 * 96))
            ),
        },
        uncovered=(
            "class_token",
            "encoder.pos_embedding",
            "conv_proj.weight",
            "encoder.layers.encoder_layer_0.self_attention.in_proj_bias",
        ),
    ),
    "swin": Case(
        build=swin(2, 2),
        longer=swin(2, 3),
        cfg=[
            dict(type="Caffe2Xavier", layer="Linear"),
            dict(type="Uniform", name="features.*.*.mlp.**", layer="Linear", a=-0.01, b=0.03, bias=0.5),
        ],
        fills={
            "head.weight": Uniform(-math.sqrt(3 / 96), math.sqrt(3 / 96)),
            "features.1.0.mlp.0.weight": Uniform(-0.01, 0.03),
            "features.1.0.mlp.0.bias": Constant(0.5),
        },
        uncovered=("features.1.0.attn.relative_position_bias_table", "features.0.0.weight", "norm.weight"),
    ),
}


class TestTorchvision(RetrofitTests):
    pass
