"""Checkpoints that other libraries load in a block, each in its own way: what they bring is kept."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import (
    AutoModel,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedConfig,
    PreTrainedModel,
)

from autoinit import AutoInitWarning, Report, autoinit
from tests.closed_form import bitwise_equal, deviations

CFG = dict(type="Normal", layer=["Linear", "Embedding", "Conv1D"], std=3.0)


@pytest.fixture(autouse=True)
def a_rule_may_reach_nothing_new() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* fills nothing", category=AutoInitWarning)
        yield


def bert(**options: Any) -> BertConfig:
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, vocab_size=90)
    return BertConfig(**{**sizes, "num_labels": 3, **options})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    folder = tmp_path_factory.mktemp("bert")
    model = BertForSequenceClassification(bert())
    model.save_pretrained(folder)
    return model, folder


def outcomes(report: Report) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for fqn, entry in report.items():
        found.setdefault(entry.outcome.partition(" (")[0], set()).add(fqn)
    return found


def same(model: nn.Module, donor: nn.Module, prefix: str = "") -> bool:
    theirs = dict(donor.named_parameters())
    return all(bitwise_equal(param, theirs[prefix + name]) for name, param in model.named_parameters())


def kept(load: Callable[[], nn.Module]) -> nn.Module:
    """Load a model in a block, and check that all of it is kept."""
    with autoinit(CFG, seed=0) as run:
        model = load()
    assert set(outcomes(run.report)) == {"kept: data"}
    return model


def test_from_pretrained(source: tuple[nn.Module, Path]) -> None:
    donor, folder = source
    assert same(kept(lambda: BertForSequenceClassification.from_pretrained(folder)), donor)
    assert same(kept(lambda: AutoModel.from_pretrained(folder)), donor, "bert.")
    assert kept(lambda: BertModel.from_pretrained(folder, dtype=torch.float16)).dtype == torch.float16


def test_only_a_mismatched_head_is_new(source: tuple[nn.Module, Path]) -> None:
    donor, folder = source
    with autoinit(CFG, seed=0) as run:
        model = BertForSequenceClassification.from_pretrained(folder, num_labels=40, ignore_mismatched_sizes=True)
    found = outcomes(run.report)
    assert found["filled"] == {"classifier.weight", "classifier.bias"}
    assert len(found["kept: data"]) == len(list(donor.parameters())) - 2
    assert same(model.bert, donor, "bert.")
    head = {"classifier.weight": model.classifier.weight}
    # A false-alarm rate of 1e-3, and a fixed seed.
    assert deviations(head, {"classifier.weight": run.report["classifier.weight"].fill}) == []


def test_only_missing_layers_are_new(source: tuple[nn.Module, Path]) -> None:
    _, folder = source
    with autoinit(CFG, seed=0) as run:
        model = BertForSequenceClassification.from_pretrained(folder, config=bert(num_hidden_layers=3))
    new = {name for name, _ in model.named_parameters() if ".layer.2." in name}
    found = outcomes(run.report)
    assert found["filled"] == {name for name in new if "LayerNorm" not in name}
    # No rule is about these, and transformers gave them its own values.
    assert found["kept"] == {name for name in new if "LayerNorm" in name}


@pytest.mark.parametrize(
    "convert",
    [
        copy.deepcopy,
        lambda model: model.to(torch.bfloat16),
        lambda model: nn.Sequential(model, nn.Linear(2, 2))[0],
        lambda model: model.resize_token_embeddings(97) and model,
    ],
    ids=["copied", "converted", "wrapped", "resized"],
)
def test_what_is_done_with_it_in_the_block(
    source: tuple[nn.Module, Path], convert: Callable[[nn.Module], nn.Module]
) -> None:
    _, folder = source
    with autoinit(CFG, seed=0) as run:
        model = convert(BertModel.from_pretrained(folder))
    report = next(report for report in run.reports if report.model in ("BertModel", "Sequential"))
    assert outcomes(report).get("filled", set()) <= {"1.weight", "1.bias"}
    assert model.encoder.layer[0].output.dense.weight.abs().max() < 1


def test_a_tied_head_stays_tied(tmp_path: Path) -> None:
    sizes = dict(n_embd=32, n_layer=1, n_head=2, vocab_size=70, bos_token_id=1, eos_token_id=1)
    donor = GPT2LMHeadModel(GPT2Config(**sizes))
    donor.save_pretrained(tmp_path)
    model = kept(lambda: GPT2LMHeadModel.from_pretrained(tmp_path))
    assert model.lm_head.weight is model.transformer.wte.weight
    assert same(model, donor)


class TinyConfig(PreTrainedConfig):
    model_type = "autoinit-tiny"


class Tiny(PreTrainedModel):
    """A user's own model, in the way of before transformers 5: it writes through `.data`."""

    config_class = TinyConfig

    def __init__(self, config: TinyConfig) -> None:
        super().__init__(config)
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            module.weight.data.fill_(0.25)


def test_a_users_own_model_built_from_its_config() -> None:
    with autoinit(CFG, seed=0) as run:
        model = Tiny(TinyConfig())
    assert set(outcomes(run.report)) == {"filled"}
    assert not model.body.weight.eq(0.25).any()


# ---------------------------------------------------------------- timm


def vit(**options: Any) -> nn.Module:
    sizes = dict(depth=1, embed_dim=32, num_heads=2, img_size=32, patch_size=8, num_classes=5)
    return timm.create_model("vit_tiny_patch16_224", **{**sizes, **options})


def flax_names(model: nn.Module) -> dict[str, np.ndarray]:
    """The arrays of a ViT under the names that JAX's implementation gives them."""
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    dim, heads = 32, 2
    names = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
    }
    block, mha = "Transformer/encoderblock_0/", "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/"
    for number, key in enumerate(("query", "key", "value")):
        rows = slice(number * dim, (number + 1) * dim)
        names[f"{mha}{key}/kernel"] = state["blocks.0.attn.qkv.weight"][rows].T.reshape(dim, heads, -1)
        names[f"{mha}{key}/bias"] = state["blocks.0.attn.qkv.bias"][rows].reshape(heads, -1)
    names[f"{mha}out/kernel"] = state["blocks.0.attn.proj.weight"].T.reshape(heads, -1, dim)
    names[f"{mha}out/bias"] = state["blocks.0.attn.proj.bias"]
    for number in (0, 1):
        names[f"{block}MlpBlock_3/Dense_{number}/kernel"] = state[f"blocks.0.mlp.fc{number + 1}.weight"].T
        names[f"{block}MlpBlock_3/Dense_{number}/bias"] = state[f"blocks.0.mlp.fc{number + 1}.bias"]
        names[f"{block}LayerNorm_{2 * number}/scale"] = state[f"blocks.0.norm{number + 1}.weight"]
        names[f"{block}LayerNorm_{2 * number}/bias"] = state[f"blocks.0.norm{number + 1}.bias"]
    return names


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "npz"])
def test_timm_checkpoint_path(tmp_path: Path, suffix: str) -> None:
    """Files of JAX have a loader of their own."""
    donor, path = vit(), tmp_path / f"vit.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": donor.state_dict()}, path)
    elif suffix == "npz":
        np.savez(path, **flax_names(donor))
    else:
        save_file(donor.state_dict(), path)
    assert same(kept(lambda: vit(checkpoint_path=str(path))), donor)


def test_a_new_head_on_what_timm_loaded(tmp_path: Path) -> None:
    donor = vit()
    torch.save(donor.state_dict(), tmp_path / "vit.pth")
    with autoinit(CFG, seed=0) as run:
        model = vit(checkpoint_path=str(tmp_path / "vit.pth"))
        model.reset_classifier(40)
    assert outcomes(run.report)["filled"] == {"head.weight", "head.bias"}
    assert model.head.weight.std() > 2
