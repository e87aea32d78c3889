"""Models with one fault each, beside the config that they violate: planted ones, and published bugs made again."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import nn

from autoinit import initialize

SEED = 20


class Case(NamedTuple):
    """A model with a fault, the config that says how it should be, what is wrong, and what a message then contains."""

    model: nn.Module
    what: Any
    fqns: frozenset[str]
    says: str


KAIMING = dict(type="Kaiming", mode="fan_in", layer="Linear")
NORMAL = dict(type="Normal", std=0.02, layer="Linear")
TRUNCATED = dict(type="TruncNormal", std=0.02, a=-0.04, b=0.04, layer="Linear")


def chain(*sizes: int) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(one, other) for one, other in pairwise(sizes)))


def initialized(model: nn.Module, cfg: Any) -> nn.Module:
    initialize(model, cfg, seed=SEED)
    return model


def repeat_a_shard(weight: torch.Tensor, dim: int = 0) -> None:
    first = weight.chunk(4, dim)[0].clone()
    weight.copy_(torch.cat([first] * 4, dim))


Redo = Callable[[torch.Tensor], object]
REDONE: dict[str, tuple[dict[str, Any], Redo, str]] = {
    "fan_in and fan_out mixed up": (
        KAIMING,
        lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
        "mode were 'fan_out'",
    ),
    "gain missing": (
        KAIMING,
        lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
        "nonlinearity were 'linear'",
    ),
    "uniform for normal of equal std": (
        KAIMING,
        lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
        "distribution were 'uniform'",
    ),
    "truncation missing": (TRUNCATED, lambda w: nn.init.normal_(w, std=0.02), "it were not truncated"),
    "identical shards": (KAIMING, repeat_a_shard, "is a copy of 0"),
    "identical shards along the second axis": (
        KAIMING,
        lambda w: repeat_a_shard(w, dim=1),
        "slices along axis 1 repeat",
    ),
    "one NaN": (KAIMING, lambda w: w[3, 5].fill_(math.nan), "1 of 49,152 values are NaN"),
    "a row left unfilled": (KAIMING, lambda w: w[100].zero_(), "1 of 384 slices along axis 0 have one value only: 100"),
    "mean not zero": (KAIMING, lambda w: w.add_(0.01), "(mean, p = "),
    "bias not zero": (KAIMING, lambda b: b[7].fill_(1e-6), "1 of 384 values differ from 0"),
}
"""A small model in which one weight, or the bias, was filled in another way afterwards."""


def redone(name: str) -> Case:
    cfg, redo, says = REDONE[name]
    torch.manual_seed(SEED)
    model, fqn = initialized(chain(64, 128, 384, 64), cfg), "1.bias" if name.startswith("bias") else "1.weight"
    with torch.no_grad():
        redo(model.get_parameter(fqn))
    return Case(model, cfg, frozenset({fqn}), says)


FAULTS: dict[str, Callable[[], Case]] = {name: partial(redone, name) for name in REDONE}


def fault(name: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    def register(make: Callable[[], Case]) -> Callable[[], Case]:
        FAULTS[name] = make
        return make

    return register


@fault("one layer of 200 left at its default")
def one_left() -> Case:
    torch.manual_seed(SEED)
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(200)))
    default = deepcopy(model[117])
    initialized(model, NORMAL)
    model[117].load_state_dict(default.state_dict())
    return Case(model, NORMAL, frozenset({"117.weight", "117.bias"}), "torch's default for Linear")


@fault("two cloned layers")
def cloned() -> Case:
    model = initialized(chain(64, 64, 64, 64), KAIMING)
    model[2].load_state_dict(model[0].state_dict())
    return Case(model, KAIMING, frozenset({"2.weight"}), "is a copy of 0.weight")


@fault("one seed for every layer")
def one_seed() -> Case:
    cfg = dict(type="Normal", std=0.02, layer="Linear", bias=None)
    model = chain(64, 128, 256)
    for layer in model:
        torch.manual_seed(SEED)
        nn.init.normal_(layer.weight, std=0.02)
    return Case(model, cfg, frozenset({"1.weight"}), "begins with the values of 0.weight")


@fault("std off by 0.5 % in a million values")
def half_a_percent() -> Case:
    model = initialized(nn.Sequential(nn.Linear(1000, 1000)), NORMAL)
    with torch.no_grad():
        model[0].weight.mul_(1.005)
    return Case(model, NORMAL, frozenset({"0.weight"}), "off by +")


# Published.


@fault("timm's trunc_normal_ in bfloat16")
def timm_bfloat16() -> Case:
    """timm 1.0.31: in bfloat16 `uniform_` often gives the end of its interval, and `erfinv_` makes infinity of it."""
    torch.manual_seed(SEED)
    model = nn.Sequential(nn.Linear(256, 256)).bfloat16()
    with torch.no_grad():
        model[0].weight.uniform_(-1, 1).erfinv_().mul_(0.02 * math.sqrt(2)).clamp_(-2, 2)
    nn.init.zeros_(model[0].bias)
    cfg = dict(type="TruncNormal", std=0.02, a=-2, b=2, layer="Linear")
    return Case(model, cfg, frozenset({"0.weight"}), "std 0.0")


def under_weight_norm(weight_norm: Callable[[nn.Module], nn.Module]) -> Case:
    """jik876/hifi-gan#145: the weight that is written is computed anew from what is stored."""
    torch.manual_seed(SEED)
    cfg = dict(type="Normal", std=0.01, layer="Conv1d", bias=None)
    model = nn.Sequential(weight_norm(nn.Conv1d(16, 64, 5)))
    model[0].weight.data.normal_(0.0, 0.01)
    return Case(model, cfg, frozenset({"0.weight"}), "torch's default for Linear and Conv")


FAULTS["nothing done under weight norm"] = partial(under_weight_norm, nn.utils.parametrizations.weight_norm)
FAULTS["nothing done under old weight norm"] = partial(under_weight_norm, nn.utils.weight_norm)


@fault("layers of nn.TransformerEncoder")
def transformer_encoder() -> Case:
    """pytorch/pytorch#86274, #72253: deepcopies start alike."""
    torch.manual_seed(SEED)
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    cfg = dict(type="Caffe2Xavier", layer="Linear", bias=None, params="weight")
    names = ("linear1.weight", "linear2.weight", "self_attn.out_proj.weight")
    for name in names:
        nn.init.kaiming_uniform_(layer.get_parameter(name), a=1)
    model = nn.TransformerEncoder(layer, 2)
    return Case(model, cfg, frozenset(f"layers.1.{name}" for name in names), "is a copy of layers.0")


class Norm(nn.Module):
    """As in Llama's first releases: parameters, and no `reset_parameters`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


@fault("norms without reset_parameters after to_empty")
def missing_norm() -> Case:
    """A model from the meta device: what has no `reset_parameters` keeps what its memory happened to hold."""
    cfg = [dict(type="Caffe2Xavier", layer="Linear", bias=None), dict(type="Constant", layer="Norm", val=1)]
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(64, 64, bias=False), Norm(64))
    model.to_empty(device="cpu")
    with torch.no_grad():
        model[1].weight.fill_(1e-41)  # Fresh memory does not always hold the same.
    torch.manual_seed(SEED)
    nn.init.kaiming_uniform_(model[0].weight, a=1)
    return Case(model, cfg, frozenset({"1.weight"}), "differ from 1")
