"""Plans carried out: values by name and seed, one write each, atomicity (A), own code, checkpoints, report and log."""

from __future__ import annotations

import itertools
import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from autoinit import (
    ApplyError,
    CheckpointError,
    ConfigTypeError,
    MatchError,
    constant_init,
    initialize,
    plan,
)
from autoinit.sampling import NormalTransform, Sampler, derive_key, mixing

NORMAL = dict(type="Normal", layer="Linear", std=0.02)


def net(*sizes: int) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(sizes)))


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: param.detach().clone() for name, param in model.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- values (S1, S2) ---------------------------------------------------------------------------------------------


def test_a_value_is_a_function_of_seed_root_name_and_index() -> None:
    model = net(3, 5)
    initialize(model, NORMAL, seed=42)
    expected = torch.empty(5, 3)
    Sampler(torch.device("cpu")).draw_into(expected, derive_key(42, 0, "0.weight"), NormalTransform(0.0, 0.02))
    assert torch.equal(model[0].weight, expected)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_zero_has_its_own_sign_whatever_else_is_zero(order: str) -> None:
    model = nn.ModuleDict({name: nn.Linear(2, 2) for name in order})
    initialize(
        model,
        [
            dict(type="Constant", val=1, name="a", bias=0.0),
            dict(type="Constant", val=1, name="b", bias_prob=0.5),  # -log(1) is -0.0, as in the original.
        ],
    )
    assert not model["a"].bias.signbit().any() and model["b"].bias.signbit().all()


def test_seed_none_draws_one_seed_and_says_which() -> None:
    torch.manual_seed(0)
    first = net(4, 4)
    seed = initialize(first, NORMAL).seed
    assert isinstance(seed, int)
    again = net(4, 4)
    initialize(again, NORMAL, seed=seed)
    assert same(weights(first), weights(again))
    other = net(4, 4)
    assert initialize(other, NORMAL).seed != seed
    state = torch.random.get_rng_state()
    assert initialize(other, dict(type="Constant", val=1, layer="Linear")).seed is None
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.raises(ConfigTypeError, match="seed='x'"):
        initialize(other, NORMAL, seed="x")


# --- writing -----------------------------------------------------------------------------------------------------


def test_empty_tensors_and_scalars() -> None:
    model = nn.Module()
    model.weight, model.scale = nn.Parameter(torch.empty(0, 3)), nn.Parameter(torch.tensor(0.0))
    report = initialize(model, [dict(type="Kaiming", params="weight"), dict(type="Normal", params="scale")], seed=0)
    assert report["weight"].outcome == "filled"
    assert model.scale.item() != 0


# --- a plan on another model -------------------------------------------------------------------------------------


def test_a_plan_fits_another_instance_and_no_other_architecture() -> None:
    decided = plan(net(3, 4), NORMAL)
    twin = net(3, 4)
    assert decided.apply(twin, seed=0)["0.weight"].outcome == "filled"
    before = weights(other := net(3, 5))
    with pytest.raises(MatchError, match=r"for shape \(4, 3\), and here it is \(5, 3\)") as caught:
        decided.apply(other)
    assert caught.value.fqn == "0.weight"
    with pytest.raises(MatchError, match=r"1.weight: this Sequential has it, and the plan of Sequential does not"):
        decided.apply(net(3, 4, 5))
    with pytest.raises(MatchError, match=r"0.weight: the plan of Sequential has it, and this model does not"):
        decided.apply(nn.Sequential())
    assert same(before, weights(other))


# --- errors while it is carried out ------------------------------------------------------------------------------


def test_a_function_that_raises_leaves_its_parameter_and_is_named() -> None:
    def half_(tensor: torch.Tensor) -> None:
        tensor.view(-1)[0] = 5
        raise ValueError("boom")

    model = nn.Linear(2, 2)
    before = weights(model)
    with pytest.raises(ApplyError, match=r"init_cfg: half_\(\) failed on weight .*ValueError: boom") as caught:
        initialize(model, dict(type=half_, layer="Linear"))
    assert (caught.value.origin, caught.value.fqn) == ("init_cfg", "weight")
    assert same(before, weights(model))


@pytest.mark.parametrize("at", [0, 2])
def test_an_error_of_a_fill_that_is_drawn_with_others_names_its_parameter(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = mixing.finish

    def failing(words: torch.Tensor) -> None:
        if words.numel() == (at + 1) * 5000:  # Two values a word.
            raise MemoryError("boom")
        finish(words)

    monkeypatch.setattr("autoinit.sampling.sampler.finish", failing)
    monkeypatch.setattr("autoinit.sampling.sampler.kernel_on", lambda device: None)
    model = nn.ModuleList([nn.Linear(100, (number + 1) * 100) for number in range(3)])
    with pytest.raises(ApplyError, match="MemoryError: boom") as caught:
        initialize(model, NORMAL)
    assert caught.value.fqn == f"{at}.weight"


# --- own code ----------------------------------------------------------------------------------------------------


class OwnInit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.other = nn.Linear(2, 2), nn.Linear(2, 2)
        self.seen: float | None = None

    def init_weights(self) -> None:
        self.seen = self.layer.weight[0, 0].item()
        self.layer.weight.data[0] = 1
        self.layer.weight.data[1] *= 2


@pytest.mark.parametrize(
    ("wrap", "is_param"),
    [(lambda layer: layer, True), (nn.utils.parametrizations.spectral_norm, False)],
    ids=["plain", "computed"],
)
def test_a_function_gets_the_parameter_or_its_attributes_on_what_is_computed(
    wrap: Callable[[nn.Module], nn.Module], is_param: bool
) -> None:
    def scaled_(tensor: torch.Tensor, *, fails: bool) -> None:
        seen.append((tensor.width, tensor.stride(), tensor is param, torch.is_grad_enabled()))
        tensor.fill_(tensor.width)
        if fails:
            raise KeyError("half way")

    seen: list[object] = []
    layer = nn.Linear(3, 2)
    layer.weight = nn.Parameter(torch.zeros(3, 2).t())
    layer.weight.width = 4
    layer = wrap(layer)
    cfg = dict(type=scaled_, layer="Linear", params="weight")
    [param] = [param for name, param in layer.named_parameters() if name != "bias"]
    before, version = param.detach().clone(), param._version
    with pytest.raises(ApplyError, match="half way"):
        initialize(layer, cfg | {"fails": True})
    assert torch.equal(param, before) and param._version == version
    initialize(layer, cfg | {"fails": False})
    assert (param == 4).all() and param.width == 4 and param.stride() == (1, 2) and param._version == version + 1
    assert seen == [(4, (1, 2), is_param, False)] * 2 and param.requires_grad


def test_own_init_weights_finds_the_rules_values_and_has_the_last_word() -> None:
    model = nn.Sequential(OwnInit(), OwnInit())
    report = initialize(model, dict(type="Constant", val=3, layer="Linear"), own_init="run")
    assert model[0].seen == 3
    assert model[0].layer.weight.tolist() == [[1, 1], [6, 6]]
    assert report["0.layer.weight"].outcome == "own init_weights"
    assert report["0.layer.bias"].outcome == "filled"


def test_own_init_weights_that_fails_is_named() -> None:
    class Fails(nn.Linear):
        def init_weights(self) -> None:
            raise ValueError("boom")

    with pytest.raises(ApplyError, match=r"0: Fails.init_weights\(\) failed: ValueError: boom") as caught:
        initialize(nn.Sequential(Fails(2, 2)), [], own_init="run")
    assert caught.value.fqn == "0"


def test_own_init_weights_may_use_autoinit_and_parts_of_a_kind_still_differ() -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def init_weights(self) -> None:
            initialize(self.layer, NORMAL)

    first, second = nn.Sequential(Part(), Part()), nn.Sequential(Part(), Part())
    for model in (first, second):
        initialize(model, dict(type="Normal", layer="Conv2d"), seed=5, unmatched="ignore", own_init="run")
    assert same(weights(first), weights(second)), "the seed of the whole governs its parts"
    assert not torch.equal(first[0].layer.weight, first[1].layer.weight)
    plain = nn.Sequential(nn.ModuleDict(dict(layer=nn.Linear(4, 4))))
    initialize(plain, NORMAL, seed=5)
    assert torch.equal(plain[0]["layer"].weight, first[0].layer.weight)


def test_own_init_weights_may_use_module_functions() -> None:
    class Part(nn.Linear):
        def init_weights(self) -> None:
            constant_init(self, 4, bias=5)

    model = nn.Sequential(Part(1, 1))
    assert set(initialize(model, [], own_init="run").outcomes) == {"own init_weights"}
    assert model[0].weight.item() == 4


# --- checkpoints -------------------------------------------------------------------------------------------------


def save(path: Path, state: dict[str, torch.Tensor]) -> dict[str, object]:
    torch.save(state, path)
    return dict(type="Pretrained", checkpoint=str(path))


def test_pretrained_strict_prefix_and_nothing_in_common(tmp_path: Path) -> None:
    model = net(2, 2)
    good = {f"backbone.{name}": torch.ones_like(p) for name, p in model.named_parameters()}
    cfg = save(tmp_path / "good.pth", good)
    before = weights(model)
    with pytest.raises(CheckpointError, match="nothing in .* fits Sequential.*prefix="):
        initialize(model, cfg)
    assert same(before, weights(model))
    report = initialize(model, dict(cfg, prefix="backbone", strict=True))
    assert (model[0].weight == 1).all()
    assert "2 loaded, 0 missing" in report.caption
    partial = save(tmp_path / "partial.pth", {"0.weight": torch.zeros(2, 2)})
    before = weights(model)
    with pytest.raises(CheckpointError, match="strict=True .* 1 missing"):
        initialize(model, dict(partial, strict=True))
    assert same(before, weights(model))


def test_pretrained_with_an_override_of_its_own(tmp_path: Path) -> None:
    model = net(2, 2, 2)
    state = {name: torch.full_like(p, 3) for name, p in model.named_parameters()}
    cfg = dict(save(tmp_path / "c.pth", state), override=dict(name="1", type="Constant", val=8))
    report = initialize(model, [cfg, dict(type="Constant", val=1, layer="Linear")])
    assert (model[0].weight == 3).all()
    assert (model[1].weight == 8).all()
    assert [rule.origin for rule in report["1.weight"].overrides] == ["init_cfg[1]", "init_cfg[0]"]


# --- report and log ----------------------------------------------------------------------------------------------


def test_report_as_table_dict_json_and_pickle() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.PReLU())
    report = initialize(model, NORMAL, seed=0)
    assert str(report).splitlines()[0] == "Report of Sequential"
    assert report.outcomes == {"filled": 2, "kept": 1}
    data = json.loads(report.to_json(indent=1))
    assert data == report.to_dict()
    assert data["parameters"]["0.weight"]["fill"] == "Normal(mean=0.0, std=0.02)"
    assert data["parameters"]["1.weight"]["rule"] is None
    assert (data["seed"], data["version"]) == (0, 2)
    assert pickle.loads(pickle.dumps(report)) == report
    assert report != initialize(model, NORMAL, seed=1)
    assert repr(report) == "Report(Sequential: 2 filled, 1 kept; seed 0)"


def test_one_info_line_a_model_and_one_debug_line_a_parameter(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="autoinit"):
        initialize(net(2, 2), NORMAL, seed=0)
    assert [record.levelname for record in caplog.records] == ["INFO", "DEBUG", "DEBUG"]
    assert caplog.records[0].getMessage() == "Sequential: 2 filled; seed 0"
    assert "0.weight - (2, 2): filled [init_cfg] Normal(mean=0, std=0.02)" in caplog.records[1].getMessage()
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="autoinit"):
        constant_init(nn.Linear(1, 1), 1)
    assert not caplog.records, "one module at a time is not a model"


def test_nothing_is_printed_unless_logging_is_configured(capfd: pytest.CaptureFixture[str]) -> None:
    initialize(net(2, 2), NORMAL)
    assert capfd.readouterr() == ("", "")


def test_many_small_parameters_get_the_values_they_would_get_alone() -> None:
    model = nn.ModuleDict({str(size): nn.Linear(size, 3) for size in range(1, 60)})
    model["big"] = nn.Linear(300, 200)
    initialize(model, [dict(type="Uniform", a=-1, b=1, layer="Linear"), dict(type="Normal", name="7")], seed=9)
    for name in ("1", "2", "7", "59", "big"):
        alone = nn.ModuleDict({name: nn.Linear(model[name].in_features, model[name].out_features)})
        cfg = dict(type="Normal", name="7") if name == "7" else dict(type="Uniform", a=-1, b=1, layer="Linear")
        initialize(alone, cfg, seed=9)
        assert torch.equal(alone[name].weight, model[name].weight), name
