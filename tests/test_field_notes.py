"""Complaints of users of other libraries: the thread, the bug, and a test that it does not happen here.

Threads are paths on https://github.com.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from autoinit import AutoInitWarning, CoverageError, autoinit, initialize, plan

# ---------------------------------------------------------------- missed


class RMSNorm(nn.Module):
    """A norm of the model's own, which no list of known classes has."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))


class Transposed(nn.Module):
    """A linear layer that is no `Linear`: transformers' Conv1D."""

    def __init__(self, in_: int, out: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(in_, out)), nn.Parameter(torch.empty(out))


class Stacked(nn.Module):
    """The weights of all experts in one parameter."""

    def __init__(self, experts: int, dim: int) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(experts, dim, 4 * dim))


class GPT(nn.Module):
    """Raw scalars, a fused attention and an own `init_weights` that forgets some of them, as these models have had."""

    def __init__(self) -> None:
        super().__init__()
        self.smear_lambda = nn.Parameter(torch.zeros(1))
        self.embed = nn.Embedding(10, 8)
        self.norm = RMSNorm(8)
        self.attention = Transposed(8, 24)
        self.experts = Stacked(4, 8)
        self.gate = nn.Linear(8, 4, bias=False)
        self.head = nn.Linear(8, 10, bias=False)
        self.head.weight = self.embed.weight


def test_a_parameter_that_an_initialization_misses_is_told() -> None:
    # karpathy/nanochat/pull/686, mosaicml/llm-foundry/issues/1745, facebookresearch/dinov2/issues/476,
    # NVIDIA/TransformerEngine/issues/2528, NVIDIA/Megatron-LM/issues/6799, huggingface/transformers/issues/44575:
    # "How we can detect these misses more easily": a loop over known layers, as all of these have or had.
    naive = GPT()
    missed = [name for name, _ in naive.named_parameters()]
    for name, module in naive.named_modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
            missed = [param for param in missed if not param.startswith(f"{name}.")]
    assert missed == ["smear_lambda", "norm.weight", "attention.weight", "attention.bias", "experts.up"]
    with pytest.raises(CoverageError) as caught:
        plan(GPT(), dict(type="Normal", layer=["Linear", "Embedding"], std=0.02), require_coverage=True)
    assert f"no rule covers 5 parameters: {', '.join(missed)}" in str(caught.value)


def test_and_each_can_be_reached() -> None:
    cfg = [
        dict(type="Normal", layer=["Linear", "Embedding", "Transposed"], std=0.02),
        dict(type="Constant", layer="RMSNorm", val=1),
        dict(type="Normal", params="up", std=0.02),
        dict(type="Constant", params="*_lambda", val=0.5),
    ]
    with torch.device("meta"):
        sketch = GPT()
    # Built on meta and materialized, what nobody fills is whatever was in memory.
    model = sketch.to_empty(device="cpu")
    for param in model.parameters():
        param.data.fill_(float("nan"))
    model.head.weight = model.embed.weight
    initialize(model, cfg, seed=0, require_coverage=True)
    assert all(param.isfinite().all() for param in model.parameters())


# ---------------------------------------------------------------- overwritten


def test_pretrained_vectors_are_not_initialized_over() -> None:
    # allenai/allennlp/issues/1405, allenai/allennlp/issues/2471
    vectors = torch.randn(5, 3)

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding.from_pretrained(vectors, freeze=False)
            self.tags = nn.Embedding(4, 3)

    naive = Tagger()
    for module in naive.modules():
        if isinstance(module, nn.Embedding):
            nn.init.zeros_(module.weight)
    assert not naive.words.weight.any()
    vectors.copy_(torch.randn(5, 3))
    with autoinit(dict(type="Constant", layer="Embedding", val=0)) as run:
        model = Tagger()
    assert torch.equal(model.words.weight, vectors) and vectors.any()
    assert run.report["words.weight"].outcome.startswith("kept: data")
    assert not model.tags.weight.any()


def test_weights_are_not_drawn_again_after_they_were_loaded() -> None:
    # huggingface/transformers/issues/46620: `_init_weights` ran on modules whose parameters came from the checkpoint.
    donor = GPT()
    for param in donor.parameters():
        nn.init.constant_(param, 0.5)
    with pytest.warns(AutoInitWarning, match="fills nothing: .* data "):
        model = load_in_a_block(donor.state_dict())
    assert all(param.eq(0.5).all() for param in model.parameters())


@autoinit(dict(type="Normal", layer=["Linear", "Embedding"], std=0.02), seed=0)
def load_in_a_block(state: dict[str, Tensor]) -> nn.Module:
    model = GPT()
    model.load_state_dict(state)
    return model


# ---------------------------------------------------------------- ties


@pytest.mark.filterwarnings("ignore:.* nothing was written to this memory")
def test_ties_are_not_lost() -> None:
    # huggingface/accelerate/issues/3668, pytorch/torchtitan/issues/2252
    cfg = dict(type="Normal", layer=["Embedding", "Linear"], std=0.02)
    with autoinit(cfg, seed=0) as run:
        model = GPT()
    assert model.head.weight is model.embed.weight
    assert run.report["head.weight"].fqn == "embed.weight"
    initialize(model, cfg, seed=1)
    assert model.head.weight is model.embed.weight
    # `to_empty` breaks a tie of a model on meta; then there are two parameters, and the report says so.
    with torch.device("meta"):
        sketch = GPT()
    assert "head.weight" not in list(plan(sketch, cfg))
    assert "head.weight" in list(initialize(sketch.to_empty(device="cpu"), cfg, seed=0))


# ---------------------------------------------------------------- copies


def test_copies_of_a_computed_weight_are_drawn_each_for_itself() -> None:
    # The two together: cloned layers, and in-place fills that do nothing under weight norm.
    layer = nn.TransformerEncoderLayer(8, 2)
    weight_norm(layer.linear1)
    plain = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    for module in plain.layers:
        nn.init.normal_(module.linear1.weight)
    assert torch.equal(plain.layers[0].linear1.weight, plain.layers[1].linear1.weight)
    with autoinit(dict(type="Normal", layer="Linear", std=0.02), seed=0):
        layer = nn.TransformerEncoderLayer(8, 2)
        weight_norm(layer.linear1)
        model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    firsts = {float(module.linear1.weight.detach()[0, 0]) for module in model.layers}
    assert len(firsts) == 3 and all(abs(first) < 0.12 for first in firsts)
