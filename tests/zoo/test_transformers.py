"""transformers: models that initialize themselves (`_init_weights`) in their constructors, some with tied weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

from autoinit import AutoInitWarning
from autoinit.fills import Constant, Normal, TruncNormal, Uniform
from tests.closed_form import bitwise_equal

from .retrofit import Case, RetrofitTests, retrofit


def vit(layers: int) -> Callable[[], nn.Module]:
    sizes = dict(hidden_size=96, intermediate_size=192, num_attention_heads=3, image_size=64, patch_size=8)
    return lambda: ViTForImageClassification(ViTConfig(num_hidden_layers=layers, num_labels=10, **sizes))


def gpt2(layers: int, **changes: object) -> Callable[[], nn.Module]:
    sizes = dict(n_embd=96, n_head=3, vocab_size=500, n_positions=64, bos_token_id=0, eos_token_id=0)
    return lambda: GPT2LMHeadModel(GPT2Config(n_layer=layers, **sizes, **changes))


def llama(layers: int) -> Callable[[], nn.Module]:
    sizes = dict(hidden_size=96, intermediate_size=256, num_attention_heads=6, num_key_value_heads=2, vocab_size=500)
    return lambda: LlamaForCausalLM(LlamaConfig(num_hidden_layers=layers, **sizes))


CASES = {
    "vit": Case(
        build=vit(2),
        longer=vit(3),
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
    "gpt2": Case(
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
    "llama": Case(
        build=llama(2),
        longer=llama(3),
        cfg=[
            dict(type="Xavier", layer="Linear", distribution="uniform"),
            dict(type="Constant", layer="LlamaRMSNorm", val=0.9),
        ],
        fills={
            "model.layers.0.mlp.down_proj.weight": Uniform(-math.sqrt(6 / (96 + 256)), math.sqrt(6 / (96 + 256))),
            "model.norm.weight": Constant(0.9),
        },
        uncovered=("model.embed_tokens.weight",),
    ),
}


class TestTransformers(RetrofitTests):
    pass


def test_a_tied_weight_is_one_parameter_under_its_first_name() -> None:
    model, report = CASES["gpt2"].retrofitted
    assert model.lm_head.weight is model.transformer.wte.weight
    assert report["transformer.wte.weight"].aliases == ("lm_head.weight",)
    assert "lm_head.weight" not in list(report)
    assert report["lm_head.weight"] is report["transformer.wte.weight"]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_tied_weight_gets_the_winner_over_all_its_names(reverse: bool) -> None:
    embedding = dict(type="Constant", layer="Embedding", val=1)
    head = dict(type="Constant", name="lm_head", val=2)
    cfg = [head, embedding] if reverse else [embedding, head]
    with pytest.warns(AutoInitWarning, match="transformer.wte.weight and lm_head.weight are one parameter"):
        model, report = retrofit(gpt2(1), cfg)
    entry = report["transformer.wte.weight"]
    assert entry.rule.origin == "init_cfg[1]"
    assert [rule.origin for rule in entry.overrides] == ["init_cfg[0]"]
    assert bitwise_equal(model.lm_head.weight, torch.full((500, 96), 1.0 if reverse else 2.0))


def test_untied_the_two_names_are_two_parameters() -> None:
    cfg = dict(type="Normal", name=["lm_head", "**.wte"], std=0.02)
    model, report = retrofit(gpt2(1, tie_word_embeddings=False), cfg)
    assert report["lm_head.weight"].fill == report["transformer.wte.weight"].fill == Normal(0.0, 0.02)
    assert not bitwise_equal(model.lm_head.weight, model.transformer.wte.weight)
