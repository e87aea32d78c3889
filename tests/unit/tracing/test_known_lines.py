"""Traces of published models against the lines of their sources that are known to fill their parameters."""

from __future__ import annotations

import inspect
import math
import re
from pathlib import Path
from types import ModuleType

from torch import nn

from autoinit import Trace, trace
from autoinit.initializers import Constant, Kaiming, Normal, TruncNormal, Uniform
from autoinit.tracing import Call
from tests.zoo.operators import torchvision_operators

torchvision_operators()

LINEAR = Kaiming(a=5**0.5, mode="fan_in", nonlinearity="leaky_relu", distribution="uniform")


def is_at(call: Call, module: ModuleType, text: str) -> bool:
    """Whether a call was made by the line of a module's source with a text, which must be there."""
    file = inspect.getsourcefile(module)
    assert file is not None
    lines = Path(file).read_text().splitlines()
    assert any(text in line for line in lines), f"{file} has no line with {text!r}"
    return call.file == file and text in lines[call.line - 1] and call.source == lines[call.line - 1].strip()


def last(t: Trace, fqn: str) -> Call:
    *earlier, call = t[fqn]
    assert not call.overwritten
    assert all(each.overwritten for each in earlier)
    return call


def test_resnet50_of_torchvision() -> None:
    from torchvision.models import resnet, resnet50

    with trace() as t:
        model = resnet50()
    assert list(t) == [name for name, _ in model.named_parameters()]
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            call = last(t, f"{name}.weight")
            assert str(call) == "kaiming_normal_(mode='fan_out', nonlinearity='relu')"
            assert is_at(call, resnet, "nn.init.kaiming_normal_(m.weight")
            assert (call.module, call.layer) == ("", "ResNet")
            assert t.fills[f"{name}.weight"] == Kaiming(mode="fan_out", nonlinearity="relu")
            assert str(t[f"{name}.weight"][0]) == "kaiming_uniform_(a=2.236)"
        elif isinstance(module, nn.BatchNorm2d):
            for param, text, val in (("weight", "nn.init.constant_(m.weight, 1)", 1), ("bias", "(m.bias, 0)", 0)):
                assert is_at(last(t, f"{name}.{param}"), resnet, text)
                assert t.fills[f"{name}.{param}"] == Constant(val=val)
    assert is_at(last(t, "fc.weight"), nn.modules.linear, "init.kaiming_uniform_(self.weight, a=math.sqrt(5))")
    assert is_at(last(t, "fc.bias"), nn.modules.linear, "init.uniform_(self.bias, -bound, bound)")
    assert t.fills["fc.weight"] == LINEAR
    assert t.fills["fc.bias"] == Uniform(a=-1 / math.sqrt(2048), b=1 / math.sqrt(2048))
    assert len(str(t).splitlines()) < 60


def test_gpt2_of_transformers() -> None:
    from transformers.models.gpt2 import GPT2Config, modeling_gpt2

    sizes = dict(n_layer=2, n_embd=32, n_head=2, vocab_size=50, n_positions=16, bos_token_id=1, eos_token_id=2)
    with trace() as t:
        model = modeling_gpt2.GPT2LMHeadModel(GPT2Config(**sizes))
    assert list(t) == [name for name, _ in model.named_parameters()]
    assert t.parameters["transformer.wte.weight"].aliases == ("lm_head.weight",)
    for layer in range(2):
        for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
            weight = last(t, f"transformer.h.{layer}.{name}.weight")
            is_residual = name.endswith("c_proj")
            text = "normal_(module.c_proj.weight, mean=0.0, std=std)" if is_residual else "normal_(module.weight, mean"
            assert is_at(weight, modeling_gpt2, text)
            assert str(weight) == ("normal_(std=0.01)" if is_residual else "normal_(std=0.02)")
            assert weight.initializer == Normal(std=0.01 if is_residual else 0.02)
            assert len(t[f"transformer.h.{layer}.{name}.weight"]) == (3 if is_residual else 2)
            assert is_at(last(t, f"transformer.h.{layer}.{name}.bias"), modeling_gpt2, "init.zeros_(module.bias)")
    for name in ("wte", "wpe"):
        assert re.search(r"init.normal_\(module.weight, mean=0.0, std=", last(t, f"transformer.{name}.weight").source)
        assert t.fills[f"transformer.{name}.weight"] == Normal(std=0.02)
    assert t.fills["transformer.ln_f.weight"] == Constant(val=1)
    assert None not in t.fills.values()


def test_a_vision_transformer_of_timm() -> None:
    import timm

    with trace() as t:
        model = timm.create_model("vit_tiny_patch16_224", depth=1)
    for name, text, initializer in (
        ("cls_token", "normal_(std=1e-06)", Normal(std=1e-6)),
        ("pos_embed", "trunc_normal_(std=0.02)", TruncNormal(std=0.02)),
        ("blocks.0.attn.qkv.weight", "trunc_normal_(std=0.02)", TruncNormal(std=0.02)),
        ("blocks.0.attn.qkv.bias", "zeros_()", Constant(val=0)),
        ("patch_embed.proj.weight", "kaiming_uniform_(a=2.236)", LINEAR),
    ):
        assert (str(last(t, name)), t.fills[name]) == (text, initializer)
    assert None not in t.fills.values()
    assert model is t.root
