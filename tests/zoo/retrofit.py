"""Models of three libraries, built by their own unedited code, with a config for each and what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision.models import ResNet, SwinTransformer, VisionTransformer
from torchvision.models.resnet import BasicBlock
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

from autoinit import Report, autoinit
from autoinit.fills import Constant, Fill, Normal, TruncNormal, Uniform

from .fingerprints import SEED

Build = Callable[[], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model of a library and what becomes of it.

    Args:
        build: builds it, without pretrained weights.
        longer: builds it with one layer more.
        cfg: leaves some parameters uncovered, random ones among them.
        fills: what some of its parameters must get, written down by hand from the definition of the scheme.
        uncovered: a few FQNs that the config is not about.
    """

    build: Build
    longer: Build
    cfg: list[dict[str, Any]]
    fills: Mapping[str, Fill]
    uncovered: tuple[str, ...]

    @cached_property
    def plain(self) -> nn.Module:
        return self.plainly()[0]

    @cached_property
    def retrofitted(self) -> tuple[nn.Module, Report]:
        return retrofit(self.build, self.cfg)

    @cached_property
    def undeferred(self) -> tuple[nn.Module, Report]:
        """Deferred, a covered parameter's default is never drawn, and what comes after it is drawn earlier."""
        return retrofit(self.build, self.cfg, defer=False)

    def plainly(self) -> tuple[nn.Module, Tensor]:
        """The model, and the state of torch's generator after it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return self.build(), torch.get_rng_state()


def retrofit(build: Build, cfg: object, **options: Any) -> tuple[nn.Module, Report]:
    """Build a model inside a block, where torch's generator is as for the plain one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        with autoinit(cfg, seed=SEED, **options) as run:
            model = build()
    return model, run.report


def within(bound: float) -> Uniform:
    return Uniform(-bound, bound)


def resnet(*layers: int) -> Build:
    return lambda: ResNet(BasicBlock, list(layers))


def torchvision_vit(layers: int) -> Build:
    sizes = dict(image_size=64, patch_size=8, num_heads=3, hidden_dim=96, mlp_dim=192, num_classes=50)
    return lambda: VisionTransformer(num_layers=layers, **sizes)


def swin(*depths: int) -> Build:
    heads = [3 * 2**stage for stage in range(len(depths))]
    sizes = dict(patch_size=[4, 4], embed_dim=48, num_heads=heads, window_size=[7, 7], num_classes=50)
    return lambda: SwinTransformer(depths=list(depths), **sizes)


TIMM_VIT = dict(embed_dim=96, num_heads=3, img_size=64, patch_size=8, num_classes=50)


def of_timm(name: str, **options: Any) -> Build:
    return lambda: timm.create_model(name, **options)


def transformers_vit(layers: int) -> Build:
    sizes = dict(hidden_size=96, intermediate_size=192, num_attention_heads=3, image_size=64, patch_size=8)
    return lambda: ViTForImageClassification(ViTConfig(num_hidden_layers=layers, num_labels=10, **sizes))


def gpt2(layers: int, **changes: object) -> Build:
    sizes = dict(n_embd=96, n_head=3, vocab_size=500, n_positions=64, bos_token_id=0, eos_token_id=0)
    return lambda: GPT2LMHeadModel(GPT2Config(n_layer=layers, **sizes, **changes))


def llama(layers: int) -> Build:
    sizes = dict(hidden_size=96, intermediate_size=256, num_attention_heads=6, num_key_value_heads=2, vocab_size=500)
    return lambda: LlamaForCausalLM(LlamaConfig(num_hidden_layers=layers, **sizes))


CASES = {
    "torchvision resnet18": Case(
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
    "torchvision vit": Case(
        build=torchvision_vit(2),
        longer=torchvision_vit(3),
        cfg=[
            dict(type="TruncNormal", layer="Linear", std=0.02, a=-0.04, b=0.04),
            dict(type="Xavier", params="in_proj_weight", distribution="uniform"),
            dict(type="Constant", layer="LayerNorm", val=1),
        ],
        fills={
            # A subclass of Linear under nn.MultiheadAttention.
            "encoder.layers.encoder_layer_1.self_attention.out_proj.weight": TruncNormal(0.0, 0.02, -0.04, 0.04),
            "encoder.layers.encoder_layer_0.self_attention.in_proj_weight": within(math.sqrt(6 / (96 + 3 * 96))),
        },
        uncovered=(
            "class_token",
            "encoder.pos_embedding",
            "conv_proj.weight",
            "encoder.layers.encoder_layer_0.self_attention.in_proj_bias",
        ),
    ),
    "torchvision swin": Case(
        build=swin(2, 2),
        longer=swin(2, 3),
        cfg=[
            dict(type="Caffe2Xavier", layer="Linear"),
            dict(type="Uniform", name="features.*.*.mlp.**", layer="Linear", a=-0.01, b=0.03, bias=0.5),
        ],
        fills={
            "head.weight": within(math.sqrt(3 / 96)),
            "features.1.0.mlp.0.weight": Uniform(-0.01, 0.03),
            "features.1.0.mlp.0.bias": Constant(0.5),
        },
        uncovered=("features.1.0.attn.relative_position_bias_table", "features.0.0.weight", "norm.weight"),
    ),
    "timm vit": Case(
        build=of_timm("vit_tiny_patch16_224", depth=3, **TIMM_VIT),
        longer=of_timm("vit_tiny_patch16_224", depth=4, **TIMM_VIT),
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
    "timm resnet18": Case(
        build=of_timm("resnet18"),
        longer=of_timm("resnet18", layers=(3, 2, 2, 2)),
        cfg=[
            dict(type="Kaiming", layer="Conv2d", mode="fan_in", distribution="uniform"),
            dict(type="Constant", layer="_BatchNorm", val=1, override=dict(type="Constant", name="bn1", val=0.5)),
        ],
        fills={
            "conv1.weight": within(math.sqrt(6 / (3 * 49))),
            "bn1.weight": Constant(0.5),
            # timm's init_weights sets these to zero.
            "layer1.0.bn2.weight": Constant(1.0),
        },
        uncovered=("fc.weight", "fc.bias"),
    ),
    "timm convnext": Case(
        build=of_timm("convnext_atto", num_classes=50),
        longer=of_timm("convnext_atto", num_classes=50, depths=(2, 2, 6, 3)),
        cfg=[
            dict(type="LeCun", name="stem.0"),
            dict(type="Normal", name="**.mlp.*", std=0.01),
            dict(type="Constant", params="gamma", val=0.1),
        ],
        fills={"stages.3.blocks.0.mlp.fc2.weight": Normal(0.0, 0.01), "stages.0.blocks.0.gamma": Constant(0.1)},
        uncovered=("stages.0.blocks.0.conv_dw.weight", "head.fc.weight"),
    ),
    "transformers vit": Case(
        build=transformers_vit(2),
        longer=transformers_vit(3),
        cfg=[
            dict(type="TruncNormal", layer="Linear", std=0.03, a=-0.06, b=0.06),
            dict(type="Kaiming", layer="Conv2d", bias=None, override=dict(type="Normal", name="classifier", std=0.01)),
            dict(type="Constant", layer="LayerNorm", val=0.5, bias=0.25),
        ],
        fills={
            "vit.layernorm.weight": Constant(0.5),
            "vit.layernorm.bias": Constant(0.25),
            "vit.embeddings.patch_embeddings.projection.weight": Normal(0.0, math.sqrt(2 / (96 * 8 * 8))),
            "classifier.weight": Normal(0.0, 0.01),
        },
        uncovered=(
            "vit.embeddings.cls_token",
            "vit.embeddings.position_embeddings",
            "vit.embeddings.patch_embeddings.projection.bias",
        ),
    ),
    "transformers gpt2": Case(
        build=gpt2(2),
        longer=gpt2(3),
        cfg=[
            dict(type="Normal", layer="Conv1D", std=0.05),
            dict(type="TruncNormal", name="**.wte", std=0.1, a=-0.1, b=0.3),
        ],
        fills={
            # transformers' own _init_weights would have given this one a std of 0.02 / sqrt(2 layers x 2).
            "transformer.h.1.mlp.c_proj.weight": Normal(0.0, 0.05),
            "transformer.wte.weight": TruncNormal(0.0, 0.1, -0.1, 0.3),
        },
        uncovered=("transformer.wpe.weight", "transformer.ln_f.weight"),
    ),
    "transformers llama": Case(
        build=llama(2),
        longer=llama(3),
        cfg=[
            dict(type="Xavier", layer="Linear", distribution="uniform"),
            dict(type="Constant", layer="LlamaRMSNorm", val=0.9),
        ],
        fills={
            "model.layers.0.mlp.down_proj.weight": within(math.sqrt(6 / (96 + 256))),
            "model.norm.weight": Constant(0.9),
        },
        uncovered=("model.embed_tokens.weight",),
    ),
}
