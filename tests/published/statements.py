"""The statement of each source, as a config. Nothing here initializes anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from torch import nn


class Statement(NamedTuple):
    """A model as its library builds it, where its weights are described, and what is said there, as a config."""

    name: str
    source: str
    build: Callable[[], nn.Module]
    says: Callable[[Any], list[dict[str, Any]]]


NORM = dict(type="Constant", val=1, layer=["LayerNorm", "_BatchNorm"])


def torch_default(**selector: Any) -> dict[str, Any]:
    """`nn.Linear.reset_parameters` and `nn.Conv2d.reset_parameters`, of the weight."""
    scheme = dict(type="Kaiming", a=math.sqrt(5), mode="fan_in", nonlinearity="leaky_relu", distribution="uniform")
    return {**scheme, "params": "weight", **selector}


def torch_bias(fan_in: int, **selector: Any) -> dict[str, Any]:
    return dict(type="Uniform", a=-1 / math.sqrt(fan_in), b=1 / math.sqrt(fan_in), params="bias", **selector)


def resnet(model: Any) -> list[dict[str, Any]]:
    return [
        dict(type="Kaiming", mode="fan_out", layer="Conv2d"),
        NORM,
        torch_default(layer="Linear"),
        torch_bias(model.fc.in_features, layer="Linear"),
    ]


def vgg(model: Any) -> list[dict[str, Any]]:
    return [dict(type="Kaiming", mode="fan_out", layer="Conv2d"), NORM, dict(type="Normal", std=0.01, layer="Linear")]


def torchvision_vit(model: Any) -> list[dict[str, Any]]:
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


def timm_vit(model: Any) -> list[dict[str, Any]]:
    return [
        dict(type="TruncNormal", std=0.02, a=-2, b=2, layer="Linear"),
        NORM,
        dict(type="TruncNormal", std=0.02, a=-2, b=2, params="pos_embed"),
        dict(type="Normal", std=1e-6, params="cls_token"),
        torch_default(layer="Conv2d"),
        torch_bias(3 * 16 * 16, layer="Conv2d"),
    ]


def gpt2(model: Any) -> list[dict[str, Any]]:
    std = model.config.initializer_range
    return [
        dict(type="Normal", std=std, layer=["Conv1D", "Linear", "Embedding"]),
        NORM,
        dict(type="Normal", std=std / math.sqrt(2 * model.config.n_layer), name="**.c_proj", params="weight"),
    ]


def bert(model: Any) -> list[dict[str, Any]]:
    return [dict(type="Normal", std=model.config.initializer_range, layer=["Linear", "Embedding"]), NORM]


def llama(model: Any) -> list[dict[str, Any]]:
    return [
        dict(type="Normal", std=model.config.initializer_range, layer=["Linear", "Embedding"]),
        dict(type="Constant", val=1, layer="LlamaRMSNorm"),
    ]


def _torchvision(name: str) -> nn.Module:
    return import_module("torchvision.models").get_model(name, weights=None)


def _timm(name: str) -> nn.Module:
    return import_module("timm").create_model(name, pretrained=False)


def _transformers(name: str, config: str, **arguments: Any) -> nn.Module:
    library = import_module("transformers")
    return getattr(library, name)(getattr(library, config)(**arguments))


SMALL_LLAMA = dict(hidden_size=1024, intermediate_size=2816, num_hidden_layers=8, num_attention_heads=16)
TORCHVISION = {"resnet18": resnet, "resnet50": resnet, "vgg11": vgg, "vgg16_bn": vgg, "vit_b_16": torchvision_vit}
TRANSFORMERS = {
    "GPT-2": ("modeling_gpt2.py", partial(_transformers, "GPT2LMHeadModel", "GPT2Config"), gpt2),
    "BERT": ("modeling_utils.py", partial(_transformers, "BertForPreTraining", "BertConfig"), bert),
    "Llama, 8 layers": (
        "modeling_utils.py",
        partial(_transformers, "LlamaForCausalLM", "LlamaConfig", **SMALL_LLAMA),
        llama,
    ),
}
SOURCES = {resnet: "resnet.py", vgg: "vgg.py", torchvision_vit: "vision_transformer.py"}
STATEMENTS = (
    *(
        Statement(f"torchvision {name}", SOURCES[says], partial(_torchvision, name), says)
        for name, says in TORCHVISION.items()
    ),
    *(
        Statement(f"timm {name}", "vision_transformer.py", partial(_timm, name), timm_vit)
        for name in ("vit_base_patch16_224", "vit_tiny_patch16_224")
    ),
    *(Statement(f"transformers {name}", *of_model) for name, of_model in TRANSFORMERS.items()),
)
