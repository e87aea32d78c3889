"""Attributes and methods of other libraries that have the names of ours, and attributes of parameters that they read.

Right (design.md O7): they are left alone, the model is built, and the rules are carried out.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoinit import AutoInitWarning, autoinit, initialize, normal_init, plan
from tests.models import equalized

from . import NORMAL, is_drawn


class Static(nn.Module):
    """DLR-RM/stable-baselines3 common/policies.py: @staticmethod init_weights(module, gain=1), given to apply().

    Not the model's own. #1541: with ortho_init=False nobody calls it; neither do we.
    """

    def __init__(self, ortho_init: bool = True) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 64)
        if ortho_init:
            self.fc.apply(self.init_weights)

    @staticmethod
    def init_weights(module: nn.Module, gain: float = 1) -> None:
        nn.init.orthogonal_(module.weight, gain)


class ForApply(nn.Module):
    """huggingface/transformers v1.0.0 modeling_bert.py: self.apply(self.init_weights), a method that wants a module."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 64)
        self.apply(self.init_weights)

    def init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)


class Holder(nn.Module):
    """Has attributes of any name.

    NX-AI/vision-lstm vision_lstm/vision_lstm2.py: self.init_weights = "original", an option of the constructor;
    MartinuzziFrancesco/torchrecurrent torchrecurrent/base.py: self.init_cfg = {"kernel": "xavier_uniform"}; the same
    with options kept as a dataclass, as hydra-based code does.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)
        self.fc = nn.Linear(64, 64)


@dataclass
class Options:
    scheme: str = "xavier"
    gain: float = 1.0


KERNELS = dict(kernel="xavier_uniform", recurrent_kernel="orthogonal", bias="zeros")
MODELS = {
    "a static init_weights that was called": Static,
    "a static init_weights that was not": lambda: Static(ortho_init=False),
    "an init_weights for apply": ForApply,
    "an init_weights that is a string": lambda: Holder(init_weights="original"),
    "an init_cfg that is another mapping": lambda: Holder(init_cfg=KERNELS),
    "an init_cfg that is an object": lambda: Holder(init_cfg=Options()),
}


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_a_name_of_ours_that_means_something_else(build: Any) -> None:
    with autoinit(NORMAL, seed=0) as run:
        model = build()
    assert is_drawn(model.fc.weight) and run.report["fc.weight"].outcome == "filled"
    assert (
        vars(model).items() >= {key: value for key, value in vars(build()).items() if key.startswith("init_")}.items()
    )
    model = nn.Sequential(build(), nn.Linear(64, 64))
    assert plan(model, NORMAL)["0.fc.weight"].rule is not None
    assert initialize(model, NORMAL, seed=0)["0.fc.weight"].outcome == "filled"
    assert is_drawn(model[0].fc.weight) and is_drawn(model[1].weight)


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_it_changes_nothing_without_rules(build: Any) -> None:
    torch.manual_seed(1)
    plain = build()
    torch.manual_seed(1)
    with autoinit([]):
        model = build()
    assert torch.equal(plain.fc.weight, model.fc.weight)


def test_a_function_reads_what_a_library_keeps_on_the_parameter() -> None:
    """microsoft/mup mup/init.py: normal_(tensor) looks for tensor.infshape.

    Right: the function gets what has it; std = .05 / sqrt(256 / 64).
    """

    def mup_normal_(tensor: Tensor, std: float) -> Tensor:
        return nn.init.normal_(tensor, std=std / math.sqrt(tensor.infshape.width_mult))

    layer = nn.Linear(256, 256)
    layer.weight.infshape = SimpleNamespace(width_mult=4)
    initialize(layer, dict(type=mup_normal_, layer="Linear", params="weight", std=0.05), seed=0)
    assert is_drawn(layer.weight, 0.025)


def test_a_function_heeds_a_flag_on_the_parameter() -> None:
    """state-spaces/mamba modules/mamba_simple.py: dt_proj.bias._no_reinit = True, heeded by _init_weights.

    Right: the function sees the flag.
    """

    def unless_flagged_(tensor: Tensor) -> None:
        if not getattr(tensor, "_no_reinit", False):
            nn.init.zeros_(tensor)

    class Mamba(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dt_proj, self.out = nn.Linear(4, 64), nn.Linear(64, 64)
            nn.init.constant_(self.dt_proj.bias, -4.6)
            self.dt_proj.bias._no_reinit = True

    with autoinit(dict(type=unless_flagged_, layer="Linear", params="bias"), seed=0):
        model = Mamba()
    assert (model.dt_proj.bias == torch.tensor(-4.6)).all() and (model.out.bias == 0).all()


def test_our_function_reaches_a_weight_that_a_hook_keeps_elsewhere() -> None:
    """open-mmlab/mmgeneration pggan/modules.py: EqualizedLRConvModule calls normal_init(self.conv).

    Right: as mmengine's: weight_orig of std 1.
    """
    normal_init(conv := equalized(nn.Conv2d(16, 16, 3)))
    assert is_drawn(conv.weight_orig, 1.0)


def test_a_rule_for_a_layer_whose_weight_a_hook_keeps_elsewhere() -> None:
    """open-mmlab/mmgeneration pggan/modules.py, a rule for Conv2d.

    Right: weight_orig of std 1, as mmengine gives it, or a warning that it was not reached.
    """
    model = nn.Sequential(equalized(nn.Conv2d(16, 16, 3)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        initialize(model, dict(type="Normal", layer="Conv2d", std=1.0), seed=0)
    warned = any(issubclass(warning.category, AutoInitWarning) for warning in caught)
    assert is_drawn(model[0].weight_orig, 1.0) or warned
