"""Initialization schemes, each as a config and as the loop over `torch.nn.init` that people write instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

STD = 0.02

VIT_CFG: list[dict[str, Any]] = [
    dict(type="TruncNormal", layer="Linear", std=STD, a=-2 * STD, b=2 * STD),
    dict(type="Kaiming", layer="Conv2d"),
    dict(type="Constant", layer="LayerNorm", val=1),
]
RESNET_CFG: list[dict[str, Any]] = [
    dict(type="Kaiming", layer="Conv2d"),
    dict(type="Constant", layer="BatchNorm2d", val=1),
    dict(type="Normal", layer="Linear", std=0.01),
]
GPT2_CFG: list[dict[str, Any]] = [
    dict(type="Normal", layer=["Conv1D", "Embedding"], std=STD),
    dict(type="Constant", layer="LayerNorm", val=1),
]
LLAMA_CFG: list[dict[str, Any]] = [
    dict(type="Normal", layer=["Linear", "Embedding"], std=STD),
    dict(type="Constant", layer="LlamaRMSNorm", val=1),
]
LINEAR_CFG: list[dict[str, Any]] = [dict(type="Normal", layer="Linear", std=STD)]
ABSENT_CFG: list[dict[str, Any]] = [dict(type="Normal", layer="ConvTranspose3d", std=STD)]


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A config, and a function that does the same by hand."""

    cfg: list[dict[str, Any]]
    by_hand: Callable[[nn.Module], object]


@torch.no_grad()
def vit_by_hand(model: nn.Module) -> None:
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
def resnet_by_hand(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def language_model_by_hand(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)) or type(module).__name__ == "Conv1D":
            nn.init.normal_(module.weight, std=STD)
        elif isinstance(module, nn.LayerNorm) or type(module).__name__ == "LlamaRMSNorm":
            nn.init.ones_(module.weight)
        else:
            continue
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def linears_by_hand(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=STD)
            nn.init.zeros_(module.bias)


def of_one_tensor(init: Callable[[Tensor], object], **keys: Any) -> Scheme:
    return Scheme(cfg=[dict(keys, layer="OneTensor")], by_hand=lambda model: init(model.weight))


VIT = Scheme(cfg=VIT_CFG, by_hand=vit_by_hand)
RESNET = Scheme(cfg=RESNET_CFG, by_hand=resnet_by_hand)
GPT2 = Scheme(cfg=GPT2_CFG, by_hand=language_model_by_hand)
LLAMA = Scheme(cfg=LLAMA_CFG, by_hand=language_model_by_hand)
LINEARS = Scheme(cfg=LINEAR_CFG, by_hand=linears_by_hand)
NORMAL = of_one_tensor(lambda weight: nn.init.normal_(weight, std=STD), type="Normal", std=STD)
UNIFORM = of_one_tensor(lambda weight: nn.init.uniform_(weight, -1, 1), type="Uniform", a=-1, b=1)
TRUNC_NORMAL = of_one_tensor(
    lambda weight: nn.init.trunc_normal_(weight, std=STD, a=-2 * STD, b=2 * STD),
    **dict(type="TruncNormal", std=STD, a=-2 * STD, b=2 * STD),
)
