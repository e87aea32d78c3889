"""`verify`: its verdict on models that are right, on models that are not, and on unknown values."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal, weight_norm

import autoinit
from autoinit import AutoInitError, ConfigError, MatchError, StateError, VerificationError, initialize, plan, verify
from autoinit.verification import pvalues
from tests.closed_form import bitwise_equal
from tests.models import Around
from tests.verdicts.detection import CASES, FAMILIES, power
from tests.verdicts.faults import FAULTS
from tests.verdicts.right_models import false_alarms

NORMAL = dict(type="Normal", layer="Linear", std=0.02)
TRUNCATED = dict(type="TruncNormal", layer="Linear", std=0.02, a=-0.04, b=0.04)


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(32, 48), nn.Linear(48, 16))


def filled(*layers: nn.Module, cfg: Any = NORMAL, seed: int = 0) -> nn.Sequential:
    model = nn.Sequential(*(layers or small()))
    initialize(model, cfg, seed=seed)
    return model


def failed(model: nn.Module, what: Any = NORMAL, **options: Any) -> list[tuple[str, str]]:
    return [(failure.fqn, failure.test) for failure in verify(model, what, **options).failures]


def failing(model: nn.Module, what: Any = NORMAL) -> set[str]:
    return {test for _, test in failed(model, what)}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_fault_is_found_and_named_and_nothing_else(name: str) -> None:
    case = FAULTS[name]()
    verdict = verify(case.model, case.what)
    assert not verdict.ok
    assert {failure.fqn for failure in verdict.failures} == case.fqns
    assert any(case.says in failure.message for failure in verdict.failures)


def test_right_models_pass() -> None:
    # Of 100 at 1e-3 two or more fail by chance with a probability of 5e-3; the seed is fixed.
    assert len(false_alarms(100, alpha=1e-3, seed=7)) <= 1


@pytest.mark.parametrize(("size", "error"), CASES)
@pytest.mark.parametrize("cfg", FAMILIES, ids=lambda cfg: cfg["type"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_small_error_of_std_is_found(size: int, error: float, cfg: dict[str, object], dtype: torch.dtype) -> None:
    # At a power of 0.99 one of three is missed with a probability of 3e-2; the seeds are fixed.
    assert power(size, error, cfg, dtype, runs=3, alpha=1e-3) == 1.0


@pytest.mark.parametrize("how", ["cfg", "file", "plan", "report"])
def test_configs_files_plans_and_reports_give_the_same_verdict(how: str, tmp_path: Path) -> None:
    path = tmp_path / "init.yaml"
    path.write_text("type: Normal\nlayer: Linear\nstd: 0.02\n")
    model = small()
    report = initialize(model, NORMAL, seed=0)
    what: Any = {"cfg": NORMAL, "file": path, "plan": plan(model, NORMAL), "report": report}[how]
    assert verify(model, what).ok
    with torch.no_grad():
        model[1].weight.mul_(2)
    failures = verify(model, what).failures
    assert {failure.fqn for failure in failures} == {"1.weight"} and "off by +1" in failures[0].message
    assert failures[0].origin == ("init.yaml: init_cfg" if how == "file" else "init_cfg")


def test_nothing_of_the_model_or_the_generators_changes() -> None:
    model = filled(nn.Linear(8, 8), weight_norm(nn.Linear(8, 8)), nn.BatchNorm1d(8))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    versions = [param._version for param in model.parameters()]
    state = torch.get_rng_state()
    verify(model, NORMAL)
    verify(model)
    assert all(bitwise_equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [param._version for param in model.parameters()] == versions
    assert torch.equal(torch.get_rng_state(), state)


def test_an_audit_needs_no_config() -> None:
    model = small()
    assert verify(model).ok
    assert set(verify(model).untested.values()) == {"no rule"}
    with torch.no_grad():
        model[0].weight[3, 4] = float("inf")
        model[1].weight[3, 4] = 30.0
        model[1].bias.fill_(1e-40)
    assert {*failed(model, None)} == {("0.weight", "finite"), ("1.weight", "outlier"), ("1.bias", "written")}


def test_untested_parameters_have_a_reason() -> None:
    class Own(Around):
        def init_weights(self) -> None:
            nn.init.ones_(self.weight)

    def mine(tensor: torch.Tensor) -> None:
        tensor.fill_(3)

    own = Own(weight=torch.zeros(4, 4))
    layers = dict(own=own, free=nn.Linear(4, 4), mine=nn.Bilinear(2, 2, 2), lazy=nn.LazyLinear(3), number=nn.PReLU())
    model = nn.ModuleDict(layers)
    cfg = [dict(type="Normal", layer=["Own", "LazyLinear"]), dict(type=mine, layer="Bilinear")]
    untested = verify(model, plan(model, cfg, own_init="run")).untested
    assert untested["own.weight"] == "its module's own init_weights"
    assert untested["free.weight"] == untested["number.weight"] == "no rule"
    assert untested["mine.weight"] == "mine(): a function of your own"
    assert untested["lazy.weight"] == "no shape yet"
    assert "mine.bias" not in untested


def test_loaded_weights_are_audited_only() -> None:
    state = nn.Linear(4, 4).state_dict()
    with autoinit.autoinit(dict(type="Normal", layer=["Linear", "PReLU"])) as run:
        model = nn.Sequential(nn.Linear(4, 4), nn.PReLU())
        model[0].load_state_dict(state)
    verdict = verify(model, run.report)
    assert verdict.ok and verdict.untested.keys() == {"0.weight", "0.bias"}
    assert all(why.startswith("data (load_state_dict, ") for why in verdict.untested.values())
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    assert failed(model, run.report) == [("0.weight", "finite")]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn])
@pytest.mark.parametrize(
    "scheme",
    [
        dict(type="Normal", std=0.5),
        dict(type="Uniform", a=-1, b=1),
        dict(type="TruncNormal", std=1, a=-1, b=2),
        dict(type="Normal", mean=100, std=1e-4),
        dict(type="Constant", val=0.1),
    ],
    ids=lambda scheme: scheme["type"],
)
def test_every_dtype_has_its_own_distribution(scheme: dict[str, Any], dtype: torch.dtype) -> None:
    if dtype == torch.float8_e4m3fn and scheme.get("mean"):
        scheme = {**scheme, "mean": 96}  # 100 is half way between two of its floats, and so are many float32 draws.
    cfg = {**scheme, "layer": "Linear"}
    verdict = verify(filled(nn.Linear(200, 200).to(dtype), cfg=cfg, seed=1), cfg)
    assert verdict.ok and not verdict.untested, verdict.failures


def test_values_of_the_wrong_precision_are_seen() -> None:
    # Rounded to bfloat16 first, then stored as float32: the mean and the variance are right.
    cfg = dict(type="Normal", layer="Linear", mean=1, std=0.01)
    model = filled(nn.Linear(1000, 1000, bias=False), cfg=cfg)
    with torch.no_grad():
        model[0].weight.copy_(model[0].weight.bfloat16())
    assert "shape" in failing(model, cfg)


@pytest.mark.parametrize(
    ("layer", "cfg"),
    [
        (nn.Linear(32, 64), dict(type="Orthogonal", gain=1.4)),
        (nn.Linear(64, 32).bfloat16(), dict(type="Orthogonal")),
        (nn.Linear(64, 32), dict(type="Sparse", sparsity=0.25, std=0.1)),
        (nn.Linear(64, 32), dict(type="Eye")),
        (nn.Conv2d(8, 8, 3), dict(type="Dirac")),
        (nn.Linear(64, 32, dtype=torch.complex64), dict(type="Normal", std=2)),
        (nn.MultiheadAttention(32, 4), dict(type="Orthogonal", params="in_proj_weight")),
        (nn.MultiheadAttention(32, 4), dict(type="LeCun", params="in_proj_weight")),
        (nn.MultiheadAttention(32, 4), dict(type="Eye", params="in_proj_weight")),
        (nn.MultiheadAttention(32, 4), dict(type="Sparse", sparsity=0.5, params="in_proj_weight")),
        (nn.LSTM(16, 16), dict(type="VarianceScaling", params="weight*")),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else type(value).__name__,
)
def test_whole_tensor_schemes_and_several_maps(layer: nn.Module, cfg: dict[str, Any]) -> None:
    cfg = {**cfg, "layer": type(layer).__name__}
    initialize(layer, cfg, seed=3)
    verdict = verify(layer, cfg)
    assert verdict.ok, verdict.failures
    name = next(fqn for fqn, checked in verdict.parameters.items() if not checked.untested)
    with torch.no_grad():
        layer.get_parameter(name).view(-1)[5] += 0.5
        layer.get_parameter(name).view(-1)[6:20] *= 5
    assert name in dict(failed(layer, cfg))
    assert cfg["type"] != "Orthogonal" or "orthogonality" in failing(layer, cfg)


def test_one_map_of_several_that_is_wrong_is_found() -> None:
    layer = nn.MultiheadAttention(64, 4)
    cfg = dict(type="LeCun", params="in_proj_weight", distribution="normal")
    initialize(layer, cfg, seed=0)
    with torch.no_grad():
        layer.in_proj_weight[64:128].copy_(layer.in_proj_weight[:64])
    failure = verify(layer, cfg).failures[0]
    assert failure.test == "repeats" and "64 of 192 slices along axis 0" in failure.message


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "cfg",
    [
        TRUNCATED,
        dict(type="Uniform", layer="Linear", a=-0.1, b=0.1),
        dict(type="Uniform", layer="Linear", a=2.0, b=2.02),  # As wide as a step of bfloat16.
    ],
    ids=["truncated", "uniform", "narrow"],
)
def test_one_more_rounding_by_forward_is_right(cfg: dict[str, Any], dtype: torch.dtype) -> None:
    # Of 20 at 1e-4 one fails by chance with a probability of 2e-3; the seeds are fixed.
    for seed in range(20):
        layer = weight_norm(nn.Linear(256, 256)).to(dtype)
        assert failed(layer, initialize(layer, cfg, seed=seed), alpha=1e-4) == []


def test_parametrized_weights_are_tested_as_forward_uses_them() -> None:
    assert verify(filled(weight_norm(nn.Linear(16, 16)))).ok
    scheme = dict(type="Orthogonal", layer="Linear")
    assert verify(filled(orthogonal(nn.Linear(16, 16)), cfg=scheme), scheme).ok
    low = weight_norm(nn.Linear(128, 128)).bfloat16()
    assert failing(filled(low, cfg={**NORMAL, "std": 0.0176}), TRUNCATED) >= {"range", "shape"}
    wider = dict(TRUNCATED, std=0.021, a=-0.042, b=0.042)
    assert failing(filled(low, cfg=wider), TRUNCATED) >= {"variance"}
    constant = dict(type="Constant", layer="Linear", val=0.3)
    model = filled(weight_norm(nn.Linear(17, 5)), cfg=constant)
    assert verify(model, constant).ok
    with torch.no_grad():
        model[0].parametrizations.weight.original0.mul_(1.001)
    assert failing(model, constant) == {"constant"}


def test_tied_parameters_are_not_copies() -> None:
    model = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32))
    model[1].weight = model[0].weight
    initialize(model, NORMAL, seed=0)
    verdict = verify(model, NORMAL)
    assert verdict.ok and "1.weight" not in verdict.parameters


def test_a_copy_fails_under_the_later_name_only() -> None:
    model = filled(*(nn.Linear(8, 8) for _ in range(5)))
    for at in (2, 4):
        model[at].load_state_dict(model[1].state_dict())
    assert failed(model) == [("2.weight", "copies"), ("4.weight", "copies")]
    assert all("is a copy of 1.weight" in failure.message for failure in verify(model, NORMAL).failures)


def test_scaled_copies_are_found_by_correlation() -> None:
    model = filled(*(nn.Linear(32, 32, bias=False) for _ in range(2)))
    with torch.no_grad():
        model[1].weight.copy_(model[1].weight * 0.8 + model[0].weight * 0.6)
    [failure] = verify(model, NORMAL).failures
    assert (failure.fqn, failure.test) == ("1.weight", "correlation")
    assert failure.effect == pytest.approx(0.6, abs=0.15)


def test_alpha_is_the_rate_of_the_whole_model() -> None:
    # A deviation of a p-value around 1e-4 passes among two hundred layers at 1e-3 and fails at 0.1.
    model = filled(*(nn.Linear(32, 32, bias=False) for _ in range(200)), seed=5)
    with torch.no_grad():
        model[50].weight.mul_(1.065)
    assert verify(model, NORMAL).ok
    loose = verify(model, NORMAL, alpha=0.2)
    assert [failure.fqn for failure in loose.failures] == ["50.weight"]
    assert 1e-6 < loose.failures[0].pvalue < loose.level


def test_a_verdict_raises_prints_and_is_data() -> None:
    model = filled()
    verify(model, NORMAL).raise_for_failures()
    with torch.no_grad():
        model[0].bias[0] = 1
    verdict = verify(model, NORMAL)
    with pytest.raises(VerificationError, match="1 of 4 parameters of Sequential failed") as caught:
        verdict.raise_for_failures()
    assert isinstance(caught.value, (AutoInitError, AssertionError))
    assert caught.value.fqn == "0.bias" and caught.value.verdict is verdict
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.fqn == "0.bias" and again.verdict.failures == verdict.failures
    assert "0.bias" in str(verdict.table()) and "FAILED: constant" in str(verdict)
    data = json.loads(verdict.to_json())
    assert data["ok"] is False and data["failures"][0]["fqn"] == "0.bias"
    assert data["parameters"]["0.weight"]["detects"] == pytest.approx(0.1, rel=0.5)
    assert repr(verdict).startswith("Verdict(Sequential: 1 of 4 parameters")


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 2, float("nan"), "small", True])
def test_alpha_has_to_be_a_probability(alpha: Any) -> None:
    with pytest.raises(ConfigError, match="alpha="):
        verify(small(), NORMAL, alpha=alpha)


def test_other_models_and_models_without_memory_are_refused() -> None:
    with pytest.raises(MatchError, match=r"0\.weight"):
        verify(nn.Linear(2, 2), plan(small(), NORMAL))
    with torch.device("meta"):
        model = small()
    for what in (NORMAL, None):
        with pytest.raises(StateError, match=r"0\.weight is on the meta device"):
            verify(model, what)


def test_an_empty_model_is_right() -> None:
    assert verify(nn.Sequential(), None).ok
    assert verify(Around(weight=torch.empty(0, 3)), dict(type="Normal", params="weight", name="")).ok


def test_without_scipy_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    pvalues._scipy.cache_clear()
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(StateError, match=r"torch-autoinit\[verify\]"):
        verify(small(), NORMAL)
