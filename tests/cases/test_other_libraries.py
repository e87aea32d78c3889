"""Attributes and methods of other libraries that have the names of ours, and attributes of parameters that they read.

Right (design.md O7): they are left alone, the model is built, and the rules are carried out.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from autoinit import AutoInitWarning, autoinit, initialize, normal_init, plan
from tests.models import equalized

NORMAL = dict(type="Normal", layer="Linear", std=0.02)


def filled(weight: Tensor, std: float = 0.02) -> bool:
    return abs(weight.std().item() / std - 1) < 0.1


def test_init_weights_is_static_and_wants_a_module() -> None:
    """DLR-RM/stable-baselines3 common/policies.py: @staticmethod init_weights(module, gain=1), given to apply().

    Right: not the model's own; the rule wins.
    """

    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 64)
            self.fc.apply(self.init_weights)

        @staticmethod
        def init_weights(module: nn.Module, gain: float = 1) -> None:
            nn.init.orthogonal_(module.weight, gain)

    with autoinit(NORMAL, seed=0) as run:
        model = Policy()
    assert filled(model.fc.weight) and run.report["fc.weight"].outcome == "filled"


def test_init_weights_is_static_and_never_called_by_the_constructor() -> None:
    """DLR-RM/stable-baselines3#1541: ortho_init=False, so nobody calls the static init_weights(module, gain=1).

    Right: neither do we; the rule wins.
    """

    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 64)

        @staticmethod
        def init_weights(module: nn.Module, gain: float = 1) -> None:
            nn.init.orthogonal_(module.weight, gain)

    assert initialize(model := Policy(), NORMAL, seed=0)["fc.weight"].outcome == "filled" and filled(model.fc.weight)
    with autoinit(NORMAL, seed=0):
        model = Policy()
    assert filled(model.fc.weight)


def test_init_weights_is_a_method_for_apply() -> None:
    """huggingface/transformers v1.0.0 modeling_bert.py: self.apply(self.init_weights), a method that wants a module.

    Right: not called with nothing.
    """

    class Gpt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 64)
            self.apply(self.init_weights)

        def init_weights(self, module: nn.Module) -> None:
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.weight)

    with autoinit(NORMAL, seed=0) as run:
        model = Gpt()
    assert filled(model.fc.weight) and run.report["fc.weight"].outcome == "filled"


def test_init_weights_is_a_string() -> None:
    """NX-AI/vision-lstm vision_lstm/vision_lstm2.py: self.init_weights = "original", an option of the constructor.

    Right: no crash; the rule wins.
    """

    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.init_weights = "original"
            self.fc = nn.Linear(64, 64)

    with autoinit(NORMAL, seed=0):
        model = Cell()
    assert filled(model.fc.weight) and model.init_weights == "original"


class Recurrent(nn.Module):
    def __init__(self, init_cfg: object) -> None:
        super().__init__()
        self.init_cfg = init_cfg
        self.fc = nn.Linear(64, 64)


KERNELS = dict(kernel="xavier_uniform", recurrent_kernel="orthogonal", bias="zeros")


def test_init_cfg_is_a_mapping_of_another_library() -> None:
    """MartinuzziFrancesco/torchrecurrent torchrecurrent/base.py: self.init_cfg = {"kernel": "xavier_uniform"}.

    Right: not ours; the rule is carried out.
    """
    with autoinit(NORMAL, seed=0):
        model = Recurrent(KERNELS)
    assert filled(model.fc.weight) and model.init_cfg == KERNELS


def test_init_cfg_of_another_library_is_no_matter_without_rules() -> None:
    """MartinuzziFrancesco/torchrecurrent torchrecurrent/base.py, autoinit([]). Right: bitwise as plain."""
    torch.manual_seed(1)
    plain = Recurrent(KERNELS)
    torch.manual_seed(1)
    with autoinit([]):
        model = Recurrent(KERNELS)
    assert torch.equal(plain.fc.weight, model.fc.weight)


def test_a_model_with_init_cfg_of_another_library_is_planned() -> None:
    """MartinuzziFrancesco/torchrecurrent torchrecurrent/base.py, beside other layers.

    Right: plan() and initialize() do what the rules say.
    """
    model = nn.Sequential(Recurrent(KERNELS), nn.Linear(64, 64))
    assert plan(model, NORMAL)["0.fc.weight"].rule is not None
    initialize(model, NORMAL, seed=0)
    assert filled(model[0].fc.weight) and filled(model[1].weight)


@dataclass
class Options:
    scheme: str = "xavier"
    gain: float = 1.0


def test_init_cfg_is_an_object_of_another_library() -> None:
    """The same with options kept as a dataclass, as hydra-based code does. Right: not ours; the rule is carried out."""
    with autoinit(NORMAL, seed=0):
        model = Recurrent(Options())
    assert filled(model.fc.weight)


def test_a_function_reads_what_a_library_keeps_on_the_parameter() -> None:
    """microsoft/mup mup/init.py: normal_(tensor) looks for tensor.infshape.

    Right: the function gets what has it; std = .05 / sqrt(256 / 64).
    """

    def mup_normal_(tensor: Tensor, std: float) -> Tensor:
        return nn.init.normal_(tensor, std=std / math.sqrt(tensor.infshape.width_mult))

    layer = nn.Linear(256, 256)
    layer.weight.infshape = SimpleNamespace(width_mult=4)
    initialize(layer, dict(type=mup_normal_, layer="Linear", params="weight", std=0.05), seed=0)
    assert filled(layer.weight, 0.025)


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
    assert filled(conv.weight_orig, 1.0)


def test_a_rule_for_a_layer_whose_weight_a_hook_keeps_elsewhere() -> None:
    """open-mmlab/mmgeneration pggan/modules.py, a rule for Conv2d.

    Right: weight_orig of std 1, as mmengine gives it, or a warning that it was not reached.
    """
    model = nn.Sequential(equalized(nn.Conv2d(16, 16, 3)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        initialize(model, dict(type="Normal", layer="Conv2d", std=1.0), seed=0)
    assert filled(model[0].weight_orig, 1.0) or any(issubclass(warning.category, AutoInitWarning) for warning in caught)
