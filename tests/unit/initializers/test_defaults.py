"""`Default`: torch's layers in closed form, against what their constructors do; other layers by their own method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoinit import ApplyError, Report, ShapeError, autoinit, initialize, plan, verify
from autoinit.fills import Constant, TensorSpec, Uniform
from autoinit.initializers import Default
from tests.models import Around

ALL = dict(type="Default", name="**", params="*")
OWN = dict(type="Default", layer="Own", params="*")
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(64, 80),
    "Linear without inputs": lambda: nn.Sequential(nn.Linear(1, 4), nn.Linear(400, 3, bias=False)),
    "Conv1d": lambda: nn.Conv1d(8, 40, 5),
    "Conv2d in groups": lambda: nn.Conv2d(16, 48, 3, groups=4),
    "Conv3d": lambda: nn.Conv3d(3, 20, 3),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(8, 30, 5),
    "ConvTranspose2d in groups": lambda: nn.ConvTranspose2d(16, 48, 3, groups=4),
    "ConvTranspose3d": lambda: nn.ConvTranspose3d(4, 20, 3),
    "Bilinear": lambda: nn.Bilinear(7, 9, 40),
    "Embedding": lambda: nn.Embedding(50, 20, padding_idx=3),
    "EmbeddingBag": lambda: nn.EmbeddingBag(50, 20),
    "BatchNorm2d": lambda: nn.BatchNorm2d(4),
    "SyncBatchNorm": lambda: nn.SyncBatchNorm(4),
    "InstanceNorm1d": lambda: nn.InstanceNorm1d(4, affine=True),
    "LayerNorm": lambda: nn.LayerNorm(4),
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "RMSNorm": lambda: nn.RMSNorm(4),
    "PReLU": lambda: nn.PReLU(3, init=0.1),
    "RNN": lambda: nn.RNN(5, 30, num_layers=2, bidirectional=True),
    "LSTM": lambda: nn.LSTM(5, 30, proj_size=4),
    "GRU": lambda: nn.GRU(5, 30, bias=False),
    "GRUCell": lambda: nn.GRUCell(5, 30),
    "MultiheadAttention": lambda: nn.MultiheadAttention(32, 4, add_bias_kv=True),
    "MultiheadAttention with kdim": lambda: nn.MultiheadAttention(32, 4, kdim=20, vdim=12),
    "AdaptiveLogSoftmaxWithLoss": lambda: nn.AdaptiveLogSoftmaxWithLoss(32, 50, [10, 30]),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(32, 4, 64),
    "a subclass": lambda: type("Mine", (nn.Linear,), {})(64, 80),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(64, 80)),
    "old weight norm": lambda: old_weight_norm(nn.Conv2d(8, 30, 3)),
}


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with pytest.warns(FutureWarning):
        found: nn.Module = nn.utils.weight_norm(layer)
    return found


@pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)
def test_torchs_layers_get_what_their_constructors_give(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    constructed, filled = build(), build()
    decided = plan(constructed, ALL)
    assert not decided.steps and all(entry.fill is not None for entry in decided.values())
    initialize(filled, ALL, seed=1)
    for model in (constructed, filled):
        verdict = verify(model, ALL, alpha=1e-6)
        assert verdict.ok and all(not entry.kept for entry in decided.values()), str(verdict)
    for fqn, entry in decided.items():
        if isinstance(entry.fill, Uniform) and entry.numel > 100 and not entry.through:
            reached = constructed.get_parameter(fqn).abs().max()
            assert 0.9 * entry.fill.high < reached <= entry.fill.high * (1 + 1e-6)


def test_the_numbers() -> None:
    model = Around(dict(fc=nn.Linear(16, 2), attn=nn.MultiheadAttention(8, 2), norm=nn.BatchNorm1d(2)))
    decided = plan(model, [dict(type="Default", name="**", params=["*", "running_var"])])
    assert {fqn: str(entry.fill) for fqn, entry in decided.items()} == {
        "fc.weight": "Uniform(low=-0.25, high=0.25)",
        "fc.bias": "Uniform(low=-0.25, high=0.25)",
        "attn.in_proj_weight": "Uniform(low=-0.433013, high=0.433013)",
        "attn.in_proj_bias": "Constant(value=0)",
        "attn.out_proj.weight": "Uniform(low=-0.353553, high=0.353553)",
        "attn.out_proj.bias": "Constant(value=0)",
        "norm.weight": "Constant(value=1)",
        "norm.bias": "Constant(value=0)",
        "norm.running_var": "Constant(value=1)",
    }
    assert decided["fc.weight"].fans[0].fan_in == 16


@pytest.mark.parametrize(
    ("keys", "bias"),
    [
        ({}, Uniform(-0.5, 0.5)),
        (dict(bias=1), Constant(1.0)),
        (dict(bias=None), None),
        (dict(params="weight"), None),
        (dict(params="bias"), Uniform(-0.5, 0.5)),
    ],
    ids=str,
)
def test_a_bias_gets_its_default_too(keys: dict[str, Any], bias: object) -> None:
    assert plan(nn.Linear(4, 3), dict(type="Default", layer="Linear", **keys))["bias"].fill == bias


@pytest.mark.parametrize("fan", ["auto", "layer", "torch"])
def test_fans_are_torchs_whatever_the_option_says(fan: Any) -> None:
    assert plan(nn.ConvTranspose2d(16, 4, 3), ALL, fan=fan)["weight"].gets == "Uniform(low=-0.166667, high=0.166667)"


def test_lazy_layers() -> None:
    with autoinit(ALL, seed=0) as run:
        model = nn.Sequential(nn.LazyConv1d(4, 3), nn.LazyBatchNorm1d(), nn.Flatten(), nn.LazyLinear(30))
    assert run.report["3.bias"].gets == "Default()" and run.report["3.bias"].outcome == "pending"
    model(torch.zeros(2, 3, 6))
    assert run.report["3.bias"].gets == run.report["3.weight"].gets == "Uniform(low=-0.25, high=0.25)"
    assert run.report["0.bias"].gets == "Uniform(low=-0.333333, high=0.333333)"
    assert run.report["1.weight"].fill == Constant(1.0)
    eager = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(16, 30))
    initialize(eager, ALL, seed=0)
    assert all(torch.equal(one, model.get_parameter(name)) for name, one in eager.named_parameters())


# --- layers with a method of their own ---------------------------------------------------------------------------


class Own(nn.Module):
    """`g` follows `w`; the method also writes a buffer and a layer inside."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3, 4))
        self.g = nn.Parameter(torch.zeros(3))
        self.inner = nn.Linear(4, 4)
        self.register_buffer("count", torch.zeros(2))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.w, std=0.5)
        with torch.no_grad():
            self.g.copy_(self.w.norm(dim=1))
        self.count.add_(1)
        self.inner.reset_parameters()


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def changed(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def test_the_method_is_called_under_the_seed_and_only_what_the_rule_won_changes() -> None:
    model = nn.Sequential(Own(), Own())
    before = values(model)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    report = initialize(model, OWN, seed=0)
    assert changed(before, model) == {"0.w", "0.g", "1.w", "1.g"} and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model[0].g, model[0].w.norm(dim=1)) and not torch.equal(model[0].w, model[1].w)
    assert report["0.w"].outcome == "filled" and report.seed == 0
    again = nn.Sequential(Own(), Own())
    with autoinit(OWN, seed=0) as run:
        built = nn.Sequential(Own(), Own())
    initialize(again, OWN, seed=0)
    for other in (again, built):
        assert all(torch.equal(other.state_dict()[name], values(model)[name]) for name in ("0.w", "0.g", "1.w"))
    assert run.report == report and verify(model, report).ok


@pytest.mark.parametrize("position", [0, 1], ids=["before", "after"])
def test_other_rules_keep_what_they_won(position: int) -> None:
    cfg: list[Any] = [OWN]
    cfg.insert(position, dict(type="Constant", val=7, params="g"))
    model = Own()
    before = values(model)
    initialize(model, [*cfg, dict(type="Constant", layer="Linear", val=2)], seed=0)
    assert changed(before, model) == {"w", "g", "inner.weight", "inner.bias"}
    assert (model.inner.weight == 2).all() and (model.g == 7).all() == bool(position)


def test_loaded_weights_stay() -> None:
    with autoinit(OWN, seed=0) as run:
        model = Own()
        model.load_state_dict({"g": torch.full((3,), 9.0)}, strict=False)
    assert (model.g == 9).all() and run.report["g"].outcome.startswith("kept: ") and run.report["w"].outcome == "filled"


def test_what_an_inner_block_has_reset_is_not_reset_again() -> None:
    with autoinit(dict(type="Constant", layer="Linear", val=1), seed=5), autoinit(OWN, seed=0):
        model = Own()
    with autoinit(OWN, seed=0):
        alone = Own()
    assert torch.equal(model.w, alone.w) and torch.equal(model.g, alone.g) and (model.inner.weight == 1).all()


def test_a_method_that_replaces_parameters_changes_values_alone() -> None:
    class Replacing(Own):
        def reset_parameters(self) -> None:
            self.w = nn.Parameter(torch.full((3, 4), 5.0))
            self.g = nn.Parameter(torch.full((9,), 5.0))

    model = Around(dict(own=Own()))
    model.own.__class__ = Replacing
    w, g, before = model.own.w, model.own.g, values(model)
    initialize(model, dict(type="Default", layer="Own", params="w"), seed=0)
    assert model.own.w is w and (w == 5).all() and model.own.g is g and changed(before, model) == {"own.w"}


def test_a_method_that_raises_changes_nothing() -> None:
    class Raising(Own):
        def reset_parameters(self) -> None:
            super().reset_parameters()
            if hasattr(self, "armed"):
                raise KeyError("no more")

    model = Around(dict(own=Raising()))
    model.own.armed = True
    before, state = values(model), torch.get_rng_state()
    with pytest.raises(
        ApplyError, match=r"init_cfg: own: Raising.reset_parameters\(\) failed: KeyError: 'no"
    ) as caught:
        initialize(model, OWN, seed=0)
    assert (caught.value.origin, caught.value.fqn) == ("init_cfg", "own")
    assert not changed(before, model) and torch.equal(torch.get_rng_state(), state)


def test_a_parameter_that_the_method_leaves_out_is_kept_and_the_plan_names_the_call() -> None:
    model = Own()
    model.extra = nn.Parameter(torch.full((2,), 4.0))
    report: Report = initialize(model, OWN, seed=0)
    assert report["extra"].outcome == "kept" and (model.extra == 4).all()
    [step] = plan(Around(dict(own=Own())), OWN).steps
    assert str(step) == "Own.reset_parameters()" and step.params == ("own.w", "own.g")
    assert plan(Own(), OWN)["w"].gets == "Default()"


class Asking(Around):
    def reset_parameters(self, scale: float) -> None:
        raise AssertionError


def with_a_scale(layer: nn.Module) -> nn.Module:
    layer.scale = nn.Parameter(torch.ones(2))
    return layer


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Around(table=torch.zeros(3)), r"table of Around: Default: Around has no reset_parameters\(\), so 'table' has"),
        (Asking(table=torch.zeros(3)), "table of Asking: Default: Asking has no reset_parameters"),
        (
            with_a_scale(nn.Linear(2, 2)),
            r"Default: reset_parameters\(\) of Linear does not set 'scale'. Give it a rule",
        ),
    ],
)
def test_a_layer_without_one_is_an_error(model: nn.Module, text: str) -> None:
    with pytest.raises(ShapeError, match=rf"^init_cfg \(params='\*'\): .*{text}"):
        plan(model, dict(type="Default", params="*"))
    with pytest.raises(ShapeError, match="Default is what a layer gives"):
        Default().fill(TensorSpec(shape=(2, 2)))
