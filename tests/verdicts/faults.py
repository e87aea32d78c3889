"""Models with one fault each, beside the config that they violate: planted ones, and published bugs made again."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from autoinit import initialize

SEED = 20


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model with a fault.

    Args:
        model: that has it.
        what: config that says how the model should be; None where an audit has to find it.
        fqns: the parameters that are wrong, and no others.
        says: what the message of one of the failures contains.
    """

    model: nn.Module
    what: Any
    fqns: frozenset[str]
    says: str


FAULTS: dict[str, Callable[[], Case]] = {}


def fault(name: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    def register(make: Callable[[], Case]) -> Callable[[], Case]:
        FAULTS[name] = make
        return make

    return register


def chain(*sizes: int) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(one, other) for one, other in pairwise(sizes)))


KAIMING = dict(type="Kaiming", mode="fan_in", layer="Linear")


def initialized(model: nn.Module, cfg: Any) -> nn.Module:
    initialize(model, cfg, seed=SEED)
    return model


def one_redone(cfg: dict[str, Any], redo: Callable[[torch.Tensor], object], says: str, fqn: str = "1.weight") -> Case:
    """A small model in which one weight was filled in another way afterwards."""
    torch.manual_seed(SEED)
    model = initialized(chain(64, 128, 384, 64), cfg)
    with torch.no_grad():
        redo(model.get_parameter(fqn))
    return Case(model=model, what=cfg, fqns=frozenset({fqn}), says=says)


@fault("fan_in and fan_out mixed up")
def fans_mixed_up() -> Case:
    return one_redone(
        KAIMING, lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"), "mode were 'fan_out'"
    )


@fault("gain missing")
def gain_missing() -> Case:
    return one_redone(
        KAIMING, lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"), "nonlinearity were 'linear'"
    )


@fault("uniform for normal of equal std")
def uniform_for_normal() -> Case:
    return one_redone(
        KAIMING, lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"), "distribution were 'uniform'"
    )


@fault("truncation missing")
def truncation_missing() -> Case:
    cfg = dict(type="TruncNormal", std=0.02, a=-0.04, b=0.04, layer="Linear")
    return one_redone(cfg, lambda w: nn.init.normal_(w, std=0.02), "it were not truncated")


@fault("one layer of 200 left at its default")
def one_left() -> Case:
    torch.manual_seed(SEED)
    cfg = dict(type="Normal", std=0.02, layer="Linear")
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(200)))
    default = deepcopy(model[117])
    initialized(model, cfg)
    model[117].load_state_dict(default.state_dict())
    return Case(model=model, what=cfg, fqns=frozenset({"117.weight", "117.bias"}), says="torch's default for Linear")


@fault("two cloned layers")
def cloned() -> Case:
    model = initialized(chain(64, 64, 64, 64), KAIMING)
    model[2].load_state_dict(model[0].state_dict())
    return Case(model=model, what=KAIMING, fqns=frozenset({"2.weight"}), says="is a copy of 0.weight")


@fault("one seed for every layer")
def one_seed() -> Case:
    cfg = dict(type="Normal", std=0.02, layer="Linear", bias=None)
    model = chain(64, 128, 256)
    for layer in model:
        torch.manual_seed(SEED)
        nn.init.normal_(layer.weight, std=0.02)
    return Case(model=model, what=cfg, fqns=frozenset({"1.weight"}), says="begins with the values of 0.weight")


@fault("identical shards")
def shards() -> Case:
    def repeat(weight: torch.Tensor) -> None:
        first = weight.chunk(4)[0].clone()
        weight.copy_(first.repeat(4, 1))

    return one_redone(KAIMING, repeat, "is a copy of 0")


@fault("identical shards along the second axis")
def shards_of_columns() -> Case:
    def repeat(weight: torch.Tensor) -> None:
        first = weight.chunk(4, dim=1)[0].clone()
        weight.copy_(first.repeat(1, 4))

    return one_redone(KAIMING, repeat, "slices along axis 1 repeat")


@fault("bias not zero")
def bias() -> Case:
    return one_redone(KAIMING, lambda b: b[7].fill_(1e-6), "1 of 384 values differ from 0", "1.bias")


@fault("one NaN")
def one_nan() -> Case:
    return one_redone(KAIMING, lambda w: w[3, 5].fill_(math.nan), "1 of 49,152 values are NaN")


@fault("a row left unfilled")
def a_row() -> Case:
    return one_redone(KAIMING, lambda w: w[100].zero_(), "1 of 384 slices along axis 0 have one value only: 100")


@fault("std off by 0.5 % in a million values")
def half_a_percent() -> Case:
    cfg = dict(type="Normal", std=0.02, layer="Linear")
    model = initialized(nn.Sequential(nn.Linear(1000, 1000)), cfg)
    with torch.no_grad():
        model[0].weight.mul_(1.01)
    return Case(model=model, what=cfg, fqns=frozenset({"0.weight"}), says="off by +")


@fault("mean not zero")
def mean() -> Case:
    return one_redone(KAIMING, lambda w: w.add_(0.01), "(mean, p = ")


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
    return Case(model=model, what=cfg, fqns=frozenset({"0.weight"}), says="std 0.0")


@fault("nothing done under weight norm")
def weight_norm() -> Case:
    """jik876/hifi-gan#145: the weight that is written is computed anew from what is stored."""
    torch.manual_seed(SEED)
    cfg = dict(type="Normal", std=0.01, layer="Conv1d", bias=None)
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(16, 64, 5)))
    model[0].weight.data.normal_(0.0, 0.01)
    return Case(model=model, what=cfg, fqns=frozenset({"0.weight"}), says="torch's default for Linear and Conv")


@fault("nothing done under old weight norm")
def old_weight_norm() -> Case:
    torch.manual_seed(SEED)
    cfg = dict(type="Normal", std=0.01, layer="Conv1d", bias=None)
    model = nn.Sequential(nn.utils.weight_norm(nn.Conv1d(16, 64, 5)))
    model[0].weight.data.normal_(0.0, 0.01)
    return Case(model=model, what=cfg, fqns=frozenset({"0.weight"}), says="torch's default for Linear and Conv")


@fault("layers of nn.TransformerEncoder")
def transformer_encoder() -> Case:
    """pytorch/pytorch#86274, #72253: deepcopies start alike."""
    torch.manual_seed(SEED)
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    cfg = dict(type="Caffe2Xavier", layer="Linear", bias=None, params="weight")
    nn.init.kaiming_uniform_(layer.linear1.weight, a=1)
    nn.init.kaiming_uniform_(layer.linear2.weight, a=1)
    nn.init.kaiming_uniform_(layer.self_attn.out_proj.weight, a=1)
    model = nn.TransformerEncoder(layer, 2)
    names = ("linear1.weight", "linear2.weight", "self_attn.out_proj.weight")
    return Case(
        model=model, what=cfg, fqns=frozenset(f"layers.1.{name}" for name in names), says="is a copy of layers.0"
    )


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
        model[1].weight.fill_(1e-41)  # What memory holds is not always the same.
    torch.manual_seed(SEED)
    nn.init.kaiming_uniform_(model[0].weight, a=1)
    return Case(model=model, what=cfg, fqns=frozenset({"1.weight"}), says="differ from 1")
