"""Reports of well-known models fit a terminal of 80 columns and 30 lines."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, ViTConfig, ViTModel

from autoinit import plan, trace

CFG = [
    dict(type="TruncNormal", std=0.02, a=-2, b=2, layer=["Linear", "Conv1D", "Embedding", "Conv2d"]),
    dict(type="Constant", val=1, layer="LayerNorm"),
]
MODELS: dict[str, Callable[[], nn.Module]] = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config()),
    "vit of transformers": lambda: ViTModel(ViTConfig()),
    "vit of timm": lambda: timm.create_model("vit_base_patch16_224"),
    "vit of torchvision": torchvision.models.vit_b_16,
    "resnet": torchvision.models.resnet50,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_plan_fits_a_screen(name: str) -> None:
    with torch.device("meta"):
        model = MODELS[name]()
    decided = plan(model, CFG, unmatched="ignore")
    lines = decided.table().text(80).split("\n")
    assert len(decided) >= 140
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80
    assert all("02, ±2" in line for line in lines if "conv1.weight" in line or ("embed" in line and "weight" in line))


def test_tied_names_share_a_row() -> None:
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config())
    assert "transformer.wte.weight = lm_head.weight" in plan(model, CFG, unmatched="ignore").table().text(80)


def test_long_names_stand_under_the_prefix_that_they_share() -> None:
    with torch.device("meta"):
        model = torchvision.models.vit_b_16()
    text = plan(model, CFG, unmatched="ignore").table().text(80)
    assert "\nencoder.layers.encoder_layer_{0..11}.\n  ln_{1,2}.weight " in text


@pytest.mark.parametrize("name", MODELS)
def test_a_trace_fits_a_screen(name: str) -> None:
    with torch.device("meta"), trace() as t:
        model = MODELS[name]()
    text = t.table().text(80)
    lines = text.split("\n")
    assert len(lines) <= 40 and max(map(len, lines)) <= 80 and model is t.root
    assert not re.search(r"\([^)]*…", text), "calls are whole"
