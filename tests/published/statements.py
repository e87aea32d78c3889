"""What each source says, as a config. Nothing here initializes anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A model as its library builds it, and what the library's source says of its weights.

    Args:
        name: of the model.
        source: where it is said.
        build: the model.
        says: from the model to the config.
    """

    name: str
    source: str
    build: Callable[[], nn.Module]
    says: Callable[[nn.Module], list[dict[str, Any]]]


NORM = dict(type="Constant", val=1, layer=["LayerNorm", "_BatchNorm"])


def torch_default(**selector: Any) -> dict[str, Any]:
    """`nn.Linear.reset_parameters` and `nn.Conv2d.reset_parameters`, of the weight."""
    scheme = dict(type="Kaiming", a=math.sqrt(5), mode="fan_in", nonlinearity="leaky_relu", distribution="uniform")
    return {**scheme, "params": "weight", **selector}


def torch_bias(fan_in: int, **selector: Any) -> dict[str, Any]:
    """The same, of the bias."""
    return dict(type="Uniform", a=-1 / math.sqrt(fan_in), b=1 / math.sqrt(fan_in), params="bias", **selector)


def resnet(model: nn.Module) -> list[dict[str, Any]]:
    return [
        dict(type="Kaiming", mode="fan_out", layer="Conv2d"),
        NORM,
        torch_default(layer="Linear"),
        torch_bias(model.fc.in_features, layer="Linear"),  # type: ignore[union-attr]
    ]


def vgg(model: nn.Module) -> list[dict[str, Any]]:
    return [dict(type="Kaiming", mode="fan_out", layer="Conv2d"), NORM, dict(type="Normal", std=0.01, layer="Linear")]


def torchvision_vit(model: nn.Module) -> list[dict[str, Any]]:
    return [
        dict(type="TruncNormal", std="1/sqrt(fan_in)", layer="Conv2d"),
        NORM,
        dict(type="Constant", val=0, params="class_token"),
        dict(type="Normal", std=0.02, params="pos_embedding"),
        dict(type="Xavier", distribution="uniform", params="in_proj_weight", fan="torch"),
        dict(type="Constant", val=0, params="in_proj_bias"),
        torch_default(name="**.out_proj"),
        dict(type="Constant", val=0, name="**.out_proj", params="bias"),
        dict(type="Xavier", distribution="uniform", name="**.mlp.*", layer="Linear", params="weight"),
        dict(type="Normal", std=1e-6, name="**.mlp.*", layer="Linear", params="bias"),
        dict(type="Constant", val=0, name="heads.head"),
    ]


def timm_vit(model: nn.Module) -> list[dict[str, Any]]:
    return [
        dict(type="TruncNormal", std=0.02, a=-2, b=2, layer="Linear"),
        NORM,
        dict(type="TruncNormal", std=0.02, a=-2, b=2, params="pos_embed"),
        dict(type="Normal", std=1e-6, params="cls_token"),
        torch_default(layer="Conv2d"),
        torch_bias(3 * 16 * 16, layer="Conv2d"),
    ]


def gpt2(model: nn.Module) -> list[dict[str, Any]]:
    config: Any = model.config
    std = config.initializer_range
    return [
        dict(type="Normal", std=std, layer=["Conv1D", "Linear", "Embedding"]),
        NORM,
        dict(type="Normal", std=std / math.sqrt(2 * config.n_layer), name="**.c_proj", params="weight"),
    ]


def bert(model: nn.Module) -> list[dict[str, Any]]:
    config: Any = model.config
    return [dict(type="Normal", std=config.initializer_range, layer=["Linear", "Embedding"]), NORM]


def llama(model: nn.Module) -> list[dict[str, Any]]:
    config: Any = model.config
    return [
        dict(type="Normal", std=config.initializer_range, layer=["Linear", "Embedding"]),
        dict(type="Constant", val=1, layer="LlamaRMSNorm"),
    ]


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from torchvision.models import get_model

        return get_model(name, weights=None)

    return build


def _timm(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, **arguments)

    return build


def _transformers(name: str, config: str, **arguments: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        return getattr(transformers, name)(getattr(transformers, config)(**arguments))

    return build


SMALL_LLAMA = dict(hidden_size=1024, intermediate_size=2816, num_hidden_layers=8, num_attention_heads=16)

STATEMENTS = (
    Statement(name="torchvision resnet18", source="resnet.py", build=_torchvision("resnet18"), says=resnet),
    Statement(name="torchvision resnet50", source="resnet.py", build=_torchvision("resnet50"), says=resnet),
    Statement(name="torchvision vgg11", source="vgg.py", build=_torchvision("vgg11"), says=vgg),
    Statement(name="torchvision vgg16_bn", source="vgg.py", build=_torchvision("vgg16_bn"), says=vgg),
    Statement(
        name="torchvision vit_b_16",
        source="vision_transformer.py",
        build=_torchvision("vit_b_16"),
        says=torchvision_vit,
    ),
    Statement(
        name="timm vit_base_patch16_224",
        source="vision_transformer.py",
        build=_timm("vit_base_patch16_224"),
        says=timm_vit,
    ),
    Statement(
        name="timm vit_tiny_patch16_224",
        source="vision_transformer.py",
        build=_timm("vit_tiny_patch16_224"),
        says=timm_vit,
    ),
    Statement(
        name="transformers GPT-2",
        source="modeling_gpt2.py",
        build=_transformers("GPT2LMHeadModel", "GPT2Config"),
        says=gpt2,
    ),
    Statement(
        name="transformers BERT",
        source="modeling_utils.py",
        build=_transformers("BertForPreTraining", "BertConfig"),
        says=bert,
    ),
    Statement(
        name="transformers Llama, 8 layers",
        source="modeling_utils.py",
        build=_transformers("LlamaForCausalLM", "LlamaConfig", **SMALL_LLAMA),
        says=llama,
    ),
)
