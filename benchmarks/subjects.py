"""The models that are measured, each with the scheme that suits it and a small one of its kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import nn

from tests.zoo.operators import torchvision_operators

from . import schemes
from .schemes import Scheme


def reset_parameters(model: nn.Module) -> None:
    """Fill a model that came from the meta device in the way that is commonly recommended."""
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model to be built.

    Args:
        name: what the table calls it.
        build: it.
        small: a model of the same layers that takes no time.
        scheme: how it is initialized.
        own_init: how it initializes itself, once it is built.
        library: where it comes from.
        fills: whether its constructor fills what it allocates.
    """

    name: str
    build: Callable[[], nn.Module]
    small: Callable[[], nn.Module]
    scheme: Scheme
    own_init: Callable[[nn.Module], object] = reset_parameters
    library: str = "torch"
    fills: bool = True

    def model(self, quick: bool) -> nn.Module:
        return self.small() if quick else self.build()

    def on_meta(self, quick: bool) -> nn.Module:
        with torch.device("meta"):
            return self.model(quick)


class OneTensor(nn.Module):
    """A parameter and nothing else."""

    def __init__(self, numel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(numel))


def linears(count: int) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(count)))


def torchvision() -> ModuleType:
    torchvision_operators()
    from torchvision import models

    return models


def vit(name: str, quick: bool) -> nn.Module:
    """A vision transformer of torchvision: `vit_b_16` or `vit_l_16`, or one of a few thousand parameters."""
    if not quick:
        return getattr(torchvision(), name)()
    sizes = dict(image_size=16, patch_size=8, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4)
    return torchvision().VisionTransformer(num_layers=2, **sizes)


def small_resnet() -> nn.Module:
    models = torchvision()
    return models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=4, width_per_group=2)


def small_swin() -> nn.Module:
    models = torchvision()
    sizes = dict(patch_size=[4, 4], embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=[2, 2], num_classes=4)
    layers = models.swin_transformer
    parts = dict(block=layers.SwinTransformerBlockV2, downsample_layer=layers.PatchMergingV2)
    return models.SwinTransformer(**sizes, **parts)


def gpt2(**sizes: int) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(**sizes))


def llama(**sizes: Any) -> nn.Module:
    """With weights tied, and no biases, as the 1-B model of Llama 3.2 has it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **sizes))


def vision(name: str, small: Callable[[], nn.Module], scheme: Scheme) -> Subject:
    return Subject(name=name, build=lambda: getattr(torchvision(), name)(), small=small, scheme=scheme)


def language(name: str, build: Callable[[], nn.Module], small: Callable[[], nn.Module], scheme: Scheme) -> Subject:
    """A model of transformers: it fills everything a second time, at the end of its constructor."""
    own_init = lambda model: model.init_weights()  # noqa: E731
    return Subject(name=name, build=build, small=small, scheme=scheme, own_init=own_init, library="transformers")


def tensor(family: str, scheme: Scheme) -> Subject:
    build, small = partial(OneTensor, 1 << 28), partial(OneTensor, 1 << 10)
    return Subject(name=f"2^28 values, {family}", build=build, small=small, scheme=scheme, fills=False)


GPT2_MEDIUM = dict(n_embd=1024, n_layer=24, n_head=16)
SMALL_GPT2 = dict(vocab_size=64, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
LLAMA_1B = dict(vocab_size=128_256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16)
SMALL_LLAMA = dict(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2)

SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject(
            name="10,000 x Linear(4, 4)",
            build=partial(linears, 10_000),
            small=partial(linears, 100),
            scheme=schemes.LINEARS,
        ),
        vision("resnet50", small_resnet, schemes.RESNET),
        vision("vit_b_16", partial(vit, "vit_b_16", quick=True), schemes.VIT),
        vision("swin_v2_b", small_swin, schemes.VIT),
        vision("vit_l_16", partial(vit, "vit_l_16", quick=True), schemes.VIT),
        language("GPT-2 medium", partial(gpt2, **GPT2_MEDIUM), partial(gpt2, **SMALL_GPT2), schemes.GPT2),
        language(
            "Llama 3.2 1B",
            partial(llama, **LLAMA_1B, num_attention_heads=32, num_key_value_heads=8),
            partial(llama, **SMALL_LLAMA, num_attention_heads=4, num_key_value_heads=2),
            schemes.LLAMA,
        ),
        tensor("normal", schemes.NORMAL),
        tensor("uniform", schemes.UNIFORM),
        tensor("trunc normal", schemes.TRUNC_NORMAL),
    )
}
