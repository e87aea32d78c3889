"""Weights that forward computes: what it uses is what was asked for, whatever is stored."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from autoinit import ParametrizationError, autoinit, initialize, normal_init, plan
from autoinit.fills import Normal
from autoinit.parametrized import effective_weights
from autoinit.parametrized.norms import singular_pair
from tests.closed_form import deviations

Wrap = Callable[[nn.Module], nn.Module]


class Doubled(nn.Module):
    """A user's parametrization with one stored tensor."""

    def forward(self, stored: Tensor) -> Tensor:
        return 2 * stored

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight / 2


class SumOfTwo(nn.Module):
    """A user's parametrization with two stored tensors, one of which is drawn by the inverse."""

    def forward(self, base: Tensor, change: Tensor) -> Tensor:
        return base + change

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        change = torch.randn_like(weight)
        return weight - change, change


class Squared(nn.Module):
    """A user's parametrization that cannot be inverted."""

    def forward(self, stored: Tensor) -> Tensor:
        return stored.square()


def parametrized(part: type[nn.Module]) -> Wrap:
    return lambda module: parametrize.register_parametrization(module, "weight", part())


# Parametrizations that keep a value, and those that keep it up to a factor.
EXACT: dict[str, Wrap] = {
    "weight_norm": parametrizations.weight_norm,
    "weight_norm over all": lambda module: parametrizations.weight_norm(module, dim=None),
    "weight_norm of columns": lambda module: parametrizations.weight_norm(module, dim=1),
    "old weight_norm": lambda module: nn.utils.weight_norm(module),
    "old weight_norm over all": lambda module: nn.utils.weight_norm(module, dim=None),
    "a user's": parametrized(Doubled),
    "a user's of two tensors": parametrized(SumOfTwo),
    "two in a row": lambda module: parametrize.register_parametrization(
        parametrizations.weight_norm(module), "weight", Doubled()
    ),
}
SPECTRAL: dict[str, Wrap] = {
    "spectral_norm": parametrizations.spectral_norm,
    "old spectral_norm": nn.utils.spectral_norm,
    "weight_norm and spectral_norm": lambda module: parametrizations.spectral_norm(
        parametrizations.weight_norm(module)
    ),
}
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(60, 80),
    "Conv2d": lambda: nn.Conv2d(8, 24, 3),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(24, 32, 5),
}


@pytest.fixture(autouse=True)
def old_style_is_meant() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*spectral_norm.* is deprecated", category=FutureWarning)
        yield


def used(module: nn.Module) -> Tensor:
    """The weight that forward uses, found out by calling it: a unit vector in, a column of the weight out."""
    if isinstance(module, nn.Linear):
        with torch.no_grad():
            return (module(torch.eye(module.in_features)) - module.bias).T.contiguous()
    name = "conv2d" if isinstance(module, nn.Conv2d) else "conv_transpose1d"
    with mock.patch.object(F, name, side_effect=getattr(F, name)) as called, torch.no_grad():
        module(torch.randn(1, module.in_channels, *[9] * (module.weight.ndim - 2)))
    found: Tensor = called.call_args.args[1].detach().contiguous()
    return found


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("wrap", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_what_forward_uses_has_the_distribution_that_was_asked_for(
    make: Callable[[], nn.Module], wrap: Wrap, training: bool
) -> None:
    with autoinit(dict(type="Normal", layer=["Linear", "_ConvNd"], std=0.03), seed=1) as run:
        module = wrap(make()).train(training)
    entry = run.report["weight"]
    assert (entry.outcome, entry.fill) == ("filled", Normal(0.0, 0.03))
    # A family-wise false-alarm rate of 1e-3 for each case, and a fixed seed.
    assert deviations({"weight": used(module)}, {"weight": entry.fill}) == []
    initialize(plain := make(), dict(type="Normal", layer=["Linear", "_ConvNd"], std=0.03), seed=1)
    torch.testing.assert_close(used(module), used(plain), atol=1e-6, rtol=1e-5)
    assert not module.bias.any()


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("wrap", SPECTRAL.values(), ids=SPECTRAL)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_under_spectral_norm_it_is_that_up_to_scale(make: Callable[[], nn.Module], wrap: Wrap, training: bool) -> None:
    with autoinit(dict(type="Normal", layer=["Linear", "_ConvNd"], std=0.03), seed=1):
        module = wrap(make()).train(training)
    weight = used(module)
    [found] = effective_weights(module)
    rows = weight.transpose(0, 1) if "Transpose" in repr(module) else weight
    norm = torch.linalg.matrix_norm(rows.flatten(1), 2)
    # 15 steps of the power method underestimate the norm by some per cent at most. With the singular vectors of the
    # values before, the quotient would be anything: 2 to 200 in the median of some runs.
    assert 1 - 1e-4 < float(norm) < 1.05
    assert "spectral_norm" in found.through and found.constraint == "divided by its spectral norm"
    scaled = weight / weight.square().mean().sqrt()
    # The scale is estimated, so that only the shape is tested, which that makes conservative.
    assert deviations({"w": scaled}, {"w": Normal(0.0, 1.0)}) == []


def orthogonal(**arguments: object) -> Wrap:
    return lambda module: parametrizations.orthogonal(module, **arguments)  # type: ignore[arg-type]


ORTHOGONAL = {
    **{name: orthogonal(orthogonal_map=name) for name in ("matrix_exp", "cayley", "householder")},
    "householder without trivialization": orthogonal(orthogonal_map="householder", use_trivialization=False),
}


@pytest.mark.parametrize("wrap", ORTHOGONAL.values(), ids=ORTHOGONAL)
@pytest.mark.parametrize(("rows", "columns"), [(12, 12), (12, 20), (20, 12)])
def test_an_orthogonal_weight_is_the_one_that_was_drawn(wrap: Wrap, rows: int, columns: int) -> None:
    module = wrap(nn.Linear(columns, rows))
    report = initialize(module, dict(type="Orthogonal", layer="Linear"), seed=3)
    plain = nn.Linear(columns, rows)
    initialize(plain, dict(type="Orthogonal", layer="Linear"), seed=3)
    torch.testing.assert_close(module.weight, plain.weight, atol=2e-6, rtol=0)
    assert report["weight"].gets == "Orthogonal(gain=1) through orthogonal"
    if rows == columns:  # Other values are made orthogonal.
        initialize(module, dict(type="Normal", layer="Linear"), seed=3)
        torch.testing.assert_close(module.weight @ module.weight.T, torch.eye(rows), atol=1e-5, rtol=0)


def test_pruned_entries_stay_zero_and_the_others_are_drawn() -> None:
    module = prune.random_unstructured(nn.Linear(200, 100), "weight", amount=0.5)
    mask = module.weight_mask.bool()
    initialize(module, dict(type="Normal", layer="Linear", std=0.03), seed=1)
    weight = used(module)
    assert not weight[~mask].any()
    assert deviations({"w": weight[mask]}, {"w": Normal(0.0, 0.03)}) == []


@pytest.mark.parametrize("name", [name for name in EXACT if "norm" in name])
def test_zeros_are_zeros_where_dividing_by_their_norm_would_make_nan(name: str) -> None:
    module = EXACT[name](nn.Linear(6, 8))
    initialize(module, dict(type="Constant", layer="Linear", val=0))
    assert not used(module).any()
    used_in_training = module(torch.ones(1, 6))
    used_in_training.sum().backward()
    assert all(param.grad.isfinite().all() for param in module.parameters())


NO_INVERSE = (
    "init_cfg (layer='Linear'): 0.weight of Linear: it cannot be set, because its parametrization Squared has no "
    "right_inverse. Give the parametrization a right_inverse, write a rule for what is stored "
    "(name='0.parametrizations.weight', params='original'), or one of type 'Keep' for 'weight'."
)
NO_ASSIGNMENT = "torch cannot assign to an orthogonal parametrization with use_trivialization=False"
CANNOT_BE_ZERO = "init_cfg (layer='Linear'): 0.weight of Linear: it cannot be zero under "


@pytest.mark.parametrize(
    ("wrap", "rule", "message"),
    [
        (parametrized(Squared), dict(type="Normal"), NO_INVERSE),
        (orthogonal(orthogonal_map="cayley", use_trivialization=False), dict(type="Orthogonal"), NO_ASSIGNMENT),
        *((wrap, dict(type="Constant", val=0), CANNOT_BE_ZERO) for wrap in (*SPECTRAL.values(), orthogonal())),
    ],
)
def test_a_weight_that_cannot_be_set_is_named_with_the_way_out(wrap: Wrap, rule: dict, message: str) -> None:
    module = nn.Sequential(wrap(nn.Linear(6, 6)), nn.Linear(6, 2))
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ParametrizationError, match=re.escape(message)) as caught:
        initialize(module, dict(rule, layer="Linear"))
    assert (caught.value.origin, caught.value.fqn) == ("init_cfg", "0.weight")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_ways_out_work() -> None:
    module = nn.Sequential(parametrized(Squared)(nn.Linear(3, 2)), nn.Linear(2, 2))
    stored = dict(type="Constant", name="**.parametrizations.weight", params="original", val=3)
    keep = dict(type="Keep", name="0")
    report = initialize(module, [dict(type="Constant", layer="Linear", val=1), keep, stored])
    assert report["0.weight"].outcome == "kept"
    assert report.entries["0.parametrizations.weight.original"].outcome == "filled"
    assert module[0].weight.unique().tolist() == [9.0] and module[1].weight.unique().tolist() == [1.0]
    # One that no rule is about is left alone.
    decided = plan(module, dict(type="Normal", name="1"))
    assert decided["0.weight"].rule is None and decided.uncovered == ("0.weight", "0.bias")


@pytest.mark.parametrize("wrap", [*EXACT.values(), *SPECTRAL.values()], ids=[*EXACT, *SPECTRAL])
def test_parameters_stay_what_they_are(wrap: Wrap) -> None:
    module = wrap(nn.Linear(6, 8))
    before = {
        name: (param, param.data_ptr(), param.stride(), param.requires_grad, param._version)
        for name, param in module.named_parameters()
    }
    hooks, members = dict(module._forward_pre_hooks), set(vars(module))
    initialize(module, dict(type="Normal", layer="Linear", std=0.03), seed=1)
    for name, param in module.named_parameters():
        old, pointer, stride, requires_grad, version = before[name]
        assert param is old and param.data_ptr() == pointer and param.stride() == stride
        assert param.requires_grad == requires_grad and param._version > version
    assert dict(module._forward_pre_hooks) == hooks and set(vars(module)) == members


@pytest.mark.parametrize("wrap", [*EXACT.values(), *SPECTRAL.values(), *ORTHOGONAL.values()])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_planning_changes_nothing_and_nothing_is_drawn_from_torchs_generators(wrap: Wrap, training: bool) -> None:
    # Some inverses draw: an orthogonal one to complete a matrix.
    module, twin = wrap(nn.Linear(6, 8)).train(training), wrap(nn.Linear(6, 8))
    before, generator = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    assert plan(module, dict(type="Normal", layer="Linear"))["weight"].shape == (8, 6)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    initialize(module, dict(type="Normal", layer="Linear"), seed=1)
    assert torch.equal(torch.get_rng_state(), generator)
    torch.manual_seed(17)
    initialize(twin, dict(type="Normal", layer="Linear"), seed=1)
    for (name, value), other in zip(module.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


def test_the_plan_has_the_weight_and_finds_it_under_what_is_stored() -> None:
    module = nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 8)))
    decided = plan(module, dict(type="LeCun", layer="Linear", distribution="normal"))
    assert list(decided) == ["0.weight", "0.bias"]
    entry = decided["0.weight"]
    assert entry.stored == ("0.parametrizations.weight.original0", "0.parametrizations.weight.original1")
    assert (entry.layer, entry.through, entry.fans[0].fan_in) == ("Linear", "weight_norm", 6)
    assert all(decided[name] is entry for name in entry.stored)
    assert entry.gets == "Normal(mean=0, std=0.408248) through weight_norm"


def test_stored_tensors_get_what_a_rule_gives_them_by_name() -> None:
    module = nn.utils.weight_norm(nn.Linear(6, 8))
    weight, magnitude = dict(type="Normal", layer="Linear"), dict(type="Constant", params="weight_g", val=2)
    initialize(module, [weight, magnitude], seed=1)
    torch.testing.assert_close(used(module).norm(dim=1), torch.full((8,), 2.0))
    # The later rule wins.
    report = initialize(module, [magnitude, weight], seed=1)
    assert report.entries["weight_g"].outcome == "kept: set through weight"
    assert not torch.allclose(used(module).norm(dim=1), torch.full((8,), 2.0), atol=0.01)
    # A pattern is about weights, not about what they are made of.
    decided = plan(module, dict(type="Normal", params="weight*"))
    assert list(decided) == ["weight", "bias"]


def test_a_plan_made_on_meta_is_applied_to_what_has_memory() -> None:
    def build() -> nn.Module:
        return nn.Sequential(
            parametrizations.weight_norm(nn.Linear(6, 8)), parametrizations.spectral_norm(nn.Linear(8, 4))
        )

    cfg = dict(type="Normal", layer="Linear")
    with torch.device("meta"):
        decided = plan(build(), cfg)
    applied, direct = build(), build()
    decided.apply(applied, seed=1)
    initialize(direct, cfg, seed=1)
    assert all(
        torch.equal(a, b) for a, b in zip(applied.state_dict().values(), direct.state_dict().values(), strict=True)
    )


# torch itself cannot copy a module whose hook has computed a weight.
COPIED = {name: wrap for name, wrap in EXACT.items() if not name.startswith("old")}


@pytest.mark.parametrize("wrap", COPIED.values(), ids=COPIED)
def test_deep_copies_in_a_block_are_filled_each_by_itself(wrap: Wrap) -> None:
    with autoinit(dict(type="Normal", layer="Linear", std=0.03), seed=1) as run:
        layer = wrap(nn.Linear(60, 80))
        model = nn.ModuleList([layer, copy.deepcopy(layer), copy.deepcopy(layer)])
    assert {entry.outcome for entry in run.report.values()} == {"filled"}
    weights = {f"{index}.weight": used(module) for index, module in enumerate(model)}
    assert deviations(weights, dict.fromkeys(weights, Normal(0.0, 0.03))) == []
    assert len({float(weight[0, 0]) for weight in weights.values()}) == 3


def test_a_layer_from_outside_that_is_parametrized_in_a_block_is_not_touched() -> None:
    outside = nn.Linear(6, 8)
    before = outside.weight.detach().clone()
    with autoinit(dict(type="Constant", layer="Linear", val=3)) as run:
        model = nn.Sequential(parametrizations.weight_norm(outside), nn.Linear(8, 2))
    assert run.report["0.weight"].outcome == "kept: built outside the block"
    torch.testing.assert_close(model[0].weight, before)


def test_one_module_at_a_time() -> None:
    module = parametrizations.weight_norm(nn.Linear(60, 80))
    torch.manual_seed(0)
    normal_init(module, std=0.03, bias=1)
    assert deviations({"w": used(module)}, {"w": Normal(0.0, 0.03)}) == []
    assert module.bias.unique().item() == 1


def test_loaded_weights_beat_rules_through_what_is_stored(tmp_path: Path) -> None:
    source, module = (parametrizations.weight_norm(nn.Linear(6, 8)) for _ in range(2))
    torch.save(source.state_dict(), tmp_path / "w.pth")
    cfg = [dict(type="Normal", layer="Linear"), dict(type="Pretrained", checkpoint=str(tmp_path / "w.pth"))]
    report = initialize(module, cfg)
    assert report["weight"].origin == "init_cfg[1]" and report["weight"].outcome == "filled"
    with autoinit(dict(type="Normal", layer="Linear")) as run:
        loaded = parametrizations.weight_norm(nn.Linear(6, 8))
        loaded.load_state_dict(source.state_dict())
        model = nn.Sequential(loaded, nn.Linear(1, 1))
    assert run.report["0.weight"].outcome.startswith("kept: data")
    assert torch.equal(module.weight, source.weight) and torch.equal(model[0].weight, source.weight)


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (30, 50)])
def test_singular_vectors_are_found(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, v = singular_pair(matrix, dim=0)
    assert float(u @ matrix @ v) == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)), rel=0.02)
    assert float(u.norm()) == pytest.approx(1) and float(v.norm()) == pytest.approx(1)
