"""Checkpoints loaded into models that have loading code of their own, hooks, or wrappers."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from autoinit import ApplyError, AutoInitWarning, CheckpointError, autoinit, initialize, plan
from tests.checkpoint_files import SAVES, assert_same
from tests.checkpoint_models import Renaming, counts, filled, load
from tests.models import Around, without_our_warnings


def old_state(prefix: str = "", value: float = 1.0) -> dict[str, Tensor]:
    return {
        f"{prefix}linear.weight": torch.full((2, 2), value),
        f"{prefix}linear.bias": torch.full((2,), value),
        f"{prefix}scale_a": torch.full((2,), value),
        f"{prefix}scale_b": torch.full((2,), value + 1),
    }


@SAVES
def test_old_names_are_loaded_as_load_state_dict_would(save: Callable[..., None], path: Path) -> None:
    model = nn.Sequential(nn.Linear(1, 1), Renaming())
    content = {"0.weight": torch.full((1, 1), 5.0), "0.bias": torch.full((1,), 5.0), **old_state("1.")}
    save({**content, "1.odd": torch.ones(1)}, path)
    before = model[1].scale.clone()
    decided = plan(model, load(path))
    assert model[1].calls == 0 and torch.equal(model[1].scale, before), "planning changes nothing"
    assert decided.uncovered == ("1.scale", "1.fc.weight", "1.fc.bias"), "what code renames is not known beforehand"
    with pytest.warns(AutoInitWarning, match=r"5 loaded; 1 unexpected \(1.odd\)\."):
        report = decided.apply(model)
    assert {entry.origin for entry in report.values()} == {"init_cfg"}
    assert sorted(report.loads[0].keys) == ["0.bias", "0.weight", "1.fc.bias", "1.fc.weight", "1.scale"]
    assert model[1].calls == 1
    assert {entry.outcome for entry in report.values()} == {"filled"}
    reference = nn.Sequential(nn.Linear(1, 1), Renaming())
    reference.load_state_dict(content)
    assert_same(model.state_dict(), reference.state_dict())


def test_versions_are_passed_on(path: Path) -> None:
    torch.save(nn.Sequential(Renaming()).state_dict(), path)
    content = torch.load(path, weights_only=True)
    content.update(old_state("0."))  # what a new file has under an old name is none of the module's
    torch.save(content, path)
    says = r"3 loaded; 4 unexpected \(0.linear.weight, 0.linear.bias, 0.scale_a, 0.scale_b\)"
    with pytest.warns(AutoInitWarning, match=says):
        initialize(nn.Sequential(Renaming()), load(path))
    with pytest.warns(AutoInitWarning, match="4 unexpected"):
        initialize(Renaming(), load(path, prefix="0"))


@pytest.mark.parametrize("build", [lambda: nn.Linear(2, 2), Renaming], ids=["plain", "with code"])
def test_a_state_dict_that_was_assigned_and_saved_is_copied(build: Callable[[], nn.Module], path: Path) -> None:
    content = build().state_dict()
    build().load_state_dict(content, assign=True)
    assert content._metadata[""]["assign_to_params_buffers"], "torch leaves that in it"  # type: ignore[attr-defined]
    torch.save(content, path)
    model = build()
    params = list(model.parameters())
    report = initialize(model, load(path, strict=True))
    assert list(map(id, model.parameters())) == list(map(id, params))
    assert {entry.outcome for entry in report.values()} == {"filled"}


class Hooked(nn.Module):
    """What it is told by its hooks."""

    def __init__(self, hook: Callable[..., None] | None = None) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.seen: list[list[str]] = []
        self.told: list[Any] = []
        self._register_load_state_dict_pre_hook(hook or self.look)
        self.register_load_state_dict_post_hook(lambda module, told: self.told.append(told))

    def look(self, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
        self.seen.append(sorted(state_dict))
        if f"{prefix}old.weight" in state_dict:
            state_dict[f"{prefix}inner.weight"] = state_dict.pop(f"{prefix}old.weight").t()


def test_hooks_see_all_of_their_modules_names_once(path: Path) -> None:
    model = nn.ModuleDict({"a": Hooked(), "b": nn.Linear(2, 2)})
    names = ("a.old.weight", "a.inner.bias", "a.other", "b.weight", "b.bias")
    content = {name: torch.arange(4.0).reshape(2, 2) if "weight" in name else torch.ones(2) for name in names}
    torch.save(content, path)
    with pytest.warns(AutoInitWarning, match=r"4 loaded; 1 unexpected \(a.other\)"):
        initialize(model, load(path))
    assert model["a"].seen == [["a.inner.bias", "a.old.weight", "a.other"]]
    assert model["a"].inner.weight.tolist() == [[0.0, 2.0], [1.0, 3.0]]
    assert model["a"].told == [([], ["a.other"])]


def test_hooks_that_run_after_a_load_run_once_children_first(path: Path) -> None:
    order: list[str] = []
    model = nn.Sequential(nn.Sequential(nn.Linear(1, 1)), nn.BatchNorm1d(1))
    for name, module in model.named_modules():
        module.register_load_state_dict_post_hook(lambda module, told, name=name: order.append(name))
    torch.save(filled(model, 1.0), path)
    plan(model, load(path))
    assert order == []
    initialize(model, load(path))
    assert sorted(order) == ["", "0", "0.0", "1"]
    assert order.index("0.0") < order.index("0") < order.index("")


def test_a_hook_that_needs_values(path: Path) -> None:
    def sort(state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
        if state_dict[f"{prefix}inner.weight"].sum().item() > 3:
            state_dict[f"{prefix}inner.weight"] = torch.tensor(sorted(state_dict[f"{prefix}inner.weight"].tolist()))

    model = nn.Sequential(Hooked(sort))
    weight = torch.tensor([[3.0, 4.0], [1.0, 2.0]])
    torch.save({"0.inner.weight": weight, "0.inner.bias": torch.ones(2)}, path)
    initialize(model, load(path, strict=True))
    assert model[0].inner.weight.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("defer", [True, False])
def test_code_that_fails_in_a_block_leaves_what_the_constructors_wrote(defer: bool, path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(128, 128), nn.Conv1d(1, 1, 1), Hooked(fail), nn.Linear(128, 128))

    torch.manual_seed(0)
    plain, built = build(), []
    torch.save({name: tensor for name, tensor in filled(plain, 1.0).items() if name[0] != "3"}, path)
    torch.manual_seed(0)
    with pytest.raises(ApplyError, match="into Hooked"):
        with autoinit([load(path), dict(type="Constant", val=7, name="3")], defer=defer):
            built.append(build())
    for name, param in plain.named_parameters():
        found = built[0].get_parameter(name)
        # Deferred, constructors' fills that a rule or a checkpoint replaces are skipped, then drawn again: other values
        # of the same distribution, here and in what is drawn after them.
        if defer:
            assert found.isfinite().all() and found.abs().max() < 1.01 and (found != 1).all()
        else:
            assert torch.equal(found, param)


def test_what_code_leaves_out_is_filled_by_its_rule(path: Path) -> None:
    def drop(state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
        del state_dict[f"{prefix}inner.weight"]

    torch.save(filled(Hooked(), 1.0), path)
    cfg = [dict(type="Constant", val=7, layer="Linear", bias=7), load(path)]
    decided = plan(Hooked(drop), cfg)
    assert decided["inner.weight"].gets.startswith("Constant(value=7), then Pretrained(")
    assert plan(Hooked(), load(path)).uncovered == ()
    with pytest.warns(AutoInitWarning, match=r"1 loaded; 1 missing \(inner.weight\)"), autoinit(cfg) as run:
        model = Hooked(drop)
    assert (model.inner.weight == 7).all() and (model.inner.bias == 1).all()
    assert [run.report[f"inner.{name}"].origin for name in ("weight", "bias")] == ["init_cfg[0]", "init_cfg[1]"]
    assert [rule.origin for rule in run.report["inner.bias"].overrides] == ["init_cfg[0]"]
    assert run.report.loads[0].keys == ("inner.bias",)


def test_an_override_wins_over_what_code_loads(path: Path) -> None:
    torch.save(filled(nn.Sequential(Hooked(), Hooked()), 1.0), path)
    model = nn.Sequential(Hooked(), Hooked())
    kept = model[1].inner.weight.detach().clone()
    override = [dict(type="Constant", val=3, name="0"), dict(type="Keep", name="1")]
    report = initialize(model, load(path, override=override))
    assert (model[0].inner.weight == 3).all() and torch.equal(model[1].inner.weight, kept)
    assert report["0.inner.weight"].origin == "init_cfg.override[0]"


@pytest.mark.parametrize("content", [{"x": 1}, {"inner.weight": 3}], ids=["another name", "another shape"])
@pytest.mark.parametrize("strict", [False, True])
def test_what_fits_is_judged_when_code_has_run(content: dict[str, int], strict: bool, path: Path) -> None:
    torch.save({name: torch.ones(size, size) for name, size in content.items()}, path)
    model = Hooked()
    before = model.inner.weight.detach().clone()
    says = "nothing in .* fits Hooked|does not fit" if strict else "nothing in .* fits Hooked"
    with pytest.raises(CheckpointError, match=says):
        initialize(model, load(path, strict=strict))
    assert torch.equal(model.inner.weight, before)


def test_a_plan_is_applied_to_another_model(path: Path) -> None:
    torch.save(old_state(), path)
    with torch.device("meta"):
        decided = plan(Renaming(), load(path))
    model = Renaming()
    pickle.loads(pickle.dumps(decided)).apply(model)
    assert (model.fc.weight == 1).all()


class Replacing(nn.Module):
    """Its parameter and its buffer have the size that the checkpoint's have."""

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.zeros(size))
        self.register_buffer("queue", torch.zeros(size))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        if f"{prefix}scale" in state_dict:
            self.scale = nn.Parameter(state_dict[f"{prefix}scale"].clone())
        if f"{prefix}queue" in state_dict:
            self.queue = torch.zeros_like(state_dict[f"{prefix}queue"])
        super()._load_from_state_dict(state_dict, prefix, *args)


def test_code_may_replace_tensors(path: Path) -> None:
    torch.save(filled(nn.Sequential(nn.Sequential(Replacing(5))), 3.0), path)
    model = nn.Sequential(nn.Sequential(Replacing()))
    report = initialize(model, load(path, strict=True))
    assert counts(report) == {} and set(report.loads[0].keys) == set(model.state_dict())
    assert all((tensor == 3).all() for tensor in model.state_dict().values())
    assert report["0.0.scale"].shape == (5,) and report["0.0.scale"].outcome == "filled"
    model = nn.Sequential(nn.Sequential(Replacing(5)))
    initialize(model, load(path, override=dict(name="0.0", type="Constant", params="scale", val=8)))
    assert (model[0][0].scale == 8).all() and (model[0][0].queue == 3).all(), "what comes after fills the new tensor"


class Assigning(Around):
    """It leaves nothing to torch."""

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
        self.weight = nn.Parameter(state_dict[f"{prefix}weight"].clone())


def test_a_new_parameter_is_the_models_from_then_on(path: Path) -> None:
    torch.save({"weight": torch.full((2,), 3.0)}, path)
    with autoinit(dict(type="Constant", val=7, params="weight")) as outer:
        with autoinit(load(path, strict=True)) as inner:
            model = Assigning(weight=torch.zeros(2))
    assert (model.weight == 3).all() and inner.report["weight"].outcome == "filled"
    assert inner.report.loads[0].keys == ("weight",)
    assert outer.report["weight"].outcome == "kept: filled by an inner block"


def test_a_tensor_that_the_code_has_no_values_for_is_missing(path: Path) -> None:
    class Reset(Replacing):
        def _load_from_state_dict(self, *args: Any) -> None:
            super()._load_from_state_dict(*args)
            self.queue = torch.zeros(9)

    torch.save({name: tensor for name, tensor in filled(Reset(), 3.0).items() if name != "queue"}, path)
    with pytest.warns(AutoInitWarning, match=r"3 loaded; 1 missing \(queue\)"):
        initialize(Reset(), load(path))


def test_what_must_stay_stays_in_its_place(path: Path) -> None:
    torch.save(filled(Replacing(), 3.0), path)
    with autoinit(load(path)) as run:
        model = Replacing()
        model.scale.data = torch.from_numpy(torch.full((2,), 9.0).numpy())
        scale = model.scale
    assert run.report["scale"].outcome.startswith("kept: data")
    assert model.scale is scale and (scale == 9).all() and (model.fc.weight == 3).all()


class Failing(Replacing):
    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        raise OSError("half way")


class Careless(Renaming):
    """It writes what a checkpoint must not write, because its dtype does not fit."""

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self.fc.weight.data.fill_(5.0)
        raise OSError("half way")


class Refusing(nn.Linear):
    def _load_from_state_dict(self, *args: Any) -> None:
        args[-1].append("I would rather not")


def fail(*_: Any) -> None:
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Hooked(fail), "Hooked: KeyError: 'no such thing'"),
        (lambda: Refusing(2, 2), "Refusing: I would rather not"),
        (lambda: Failing(5), "Failing: OSError: half way"),
        (Careless, "Careless: OSError: half way"),
    ],
)
def test_after_an_error_the_tensors_are_those_of_before(build: Callable[[], nn.Module], says: str, path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), build(), nn.Conv1d(1, 1, 1))
    content = {name: tensor for name, tensor in filled(model, 1.0).items() if name[0] != "3"}
    torch.save(content | ({"2.fc.weight": torch.ones(2, 2, dtype=torch.int64)} if build is Careless else {}), path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors = [*model.parameters(), *model.buffers()]
    cfg = [load(path), dict(type="Constant", val=7, layer="Conv1d")]
    with pytest.raises(ApplyError, match=rf"init_cfg\[0\]: .* could not be loaded into {says}") as caught:
        initialize(model, cfg)
    assert caught.value.origin == "init_cfg[0]"
    assert (caught.value.__cause__ is None) is ("Refusing" in says)
    assert list(map(id, [*model.parameters(), *model.buffers()])) == list(map(id, tensors))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("defer", [True, False])
def test_code_that_fails_in_the_second_model_leaves_the_first_as_it_was(defer: bool, path: Path) -> None:
    torch.save(filled(Failing(), 3.0), path)
    torch.manual_seed(0)
    plain = nn.Linear(2, 2)
    torch.manual_seed(0)
    with pytest.raises(ApplyError, match="into Failing: OSError: half way"):
        with autoinit(dict(type="Constant", val=7, layer="Linear"), defer=defer):
            first, second = nn.Linear(2, 2), Failing()
            second.init_cfg = load(path)  # type: ignore[assignment]
    assert torch.equal(first.weight, plain.weight)


@pytest.mark.parametrize(
    "wrap",
    [checkpoint_wrapper, nn.DataParallel, lambda module: torch.compile(module, backend="eager")],
    ids=["checkpoint", "parallel", "compile"],
)
@pytest.mark.compiles
def test_wrappers_inside_a_model(wrap: Callable[[nn.Module], nn.Module], path: Path) -> None:
    def build() -> nn.Sequential:
        return nn.Sequential(nn.Linear(2, 2), nn.Sequential(Renaming(), nn.BatchNorm1d(2)))

    torch.save({**filled(build(), 2.0), **old_state("1.0.")}, path)
    model = build()
    model[1] = wrap(model[1])
    with without_our_warnings():
        report = initialize(model, load(path))
    assert set(report) == {"0.weight", "0.bias", "1.0.fc.weight", "1.0.fc.bias", "1.0.scale", "1.1.weight", "1.1.bias"}
    assert {entry.outcome for entry in report.values()} == {"filled"}
    assert (model[0].weight == 2).all()
    assert {name for name in report.loads[0].keys if "_" not in name} == set(report)


def test_a_wrapper_below_a_module_with_a_hook(path: Path) -> None:
    model = nn.Sequential(Hooked(), nn.Linear(2, 2))
    model[0].inner = nn.Sequential(nn.Linear(2, 2))
    content = filled(model, 1.0)
    torch.save(content, path)
    model[0].inner = nn.DataParallel(model[0].inner)
    assert set(initialize(model, load(path, strict=True))) == set(content)
    assert all((param == 1).all() for param in model.parameters())
