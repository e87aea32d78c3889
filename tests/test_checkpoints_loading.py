"""Checkpoints loaded into models: what fits, modules with loading code of their own, and what must stay as it is."""

from __future__ import annotations

import pathlib
import pickle
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import autoinit
from autoinit import ApplyError, AutoInitWarning, CheckpointError, Report, initialize, plan
from autoinit.checkpoints import open_checkpoint

from .checkpoint_files import save_old, save_safetensors, save_zip
from .zoo.operators import torchvision_operators

SAVES = pytest.mark.parametrize("save", [save_zip, save_old, save_safetensors])


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "toy.pth"


def load(path: pathlib.Path, **keys: Any) -> dict[str, Any]:
    return dict(type="Pretrained", checkpoint=str(path), **keys)


def filled(model: nn.Module, value: float) -> dict[str, Tensor]:
    return {name: torch.full_like(tensor, value) for name, tensor in model.state_dict().items()}


def counts(report: Any) -> dict[str, list[str]]:
    (load,) = report.loads
    names = ("missing", "unexpected", "mismatched", "other_dtype")
    return {name: list(getattr(load, name)) for name in names if getattr(load, name)}


# What fits


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.floating = nn.Parameter(torch.zeros(2))
        self.halved = nn.Parameter(torch.zeros(2, dtype=torch.float16))
        self.complex = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
        self.register_buffer("integer", torch.zeros(2, dtype=torch.int32))
        self.register_buffer("boolean", torch.zeros(2, dtype=torch.bool))
        self.register_buffer("unsaved", torch.zeros(2), persistent=False)


FLOATING = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]
INTEGER = [torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool]
COMPLEX = [torch.complex64, torch.complex128]


@pytest.mark.parametrize("dtype", [*FLOATING, *INTEGER, *COMPLEX])
def test_numbers_of_one_kind_are_cast_and_others_do_not_fit(dtype: torch.dtype, path: pathlib.Path) -> None:
    names = ("floating", "halved", "complex", "integer", "boolean")
    torch.save({name: torch.ones(2).to(dtype) for name in names}, path)
    model = Mixed()
    fitting = names[:2] if dtype in FLOATING else names[2:3] if dtype in COMPLEX else names[3:]
    others = [name for name in names if name not in fitting]
    with pytest.warns(
        AutoInitWarning, match=rf"{len(fitting)} loaded; {len(others)} of another dtype \({', '.join(others)}\)"
    ):
        report = initialize(model, load(path))
    assert counts(report) == {"other_dtype": others}
    for name in names:
        tensor = getattr(model, name)
        assert tensor.dtype == getattr(Mixed(), name).dtype
        assert (tensor == (1 if name in fitting else 0)).all()
    assert str(report.loads[0]).endswith(
        f"{len(fitting)} loaded, 0 missing, 0 unexpected, 0 mis-shaped, {len(others)} of another dtype"
    )
    assert report.to_dict()["loads"][0]["other_dtype"] == others


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")  # torch's own, when it reads such a file
def test_quantized_weights_are_of_another_dtype(path: pathlib.Path) -> None:
    quantized = torch.quantize_per_tensor(torch.ones(1, 2), 0.1, 0, torch.qint8)
    torch.save({"weight": quantized, "bias": torch.ones(1)}, path)
    with pytest.warns(AutoInitWarning, match=r"1 loaded; 1 of another dtype \(weight\)"):
        initialize(nn.Linear(2, 1), load(path))


def test_another_dtype_alone_fits_nothing(path: pathlib.Path) -> None:
    torch.save({"weight": torch.ones(1, 2, dtype=torch.int8), "bias": torch.ones(1, dtype=torch.int8)}, path)
    layer = nn.Linear(2, 1)
    before = layer.weight.clone()
    with pytest.raises(CheckpointError, match=r"nothing in .* fits Linear: 2 of another dtype \(weight, bias\)"):
        initialize(layer, load(path))
    assert torch.equal(layer.weight, before)


def test_strict_counts_dtypes(path: pathlib.Path) -> None:
    torch.save({"weight": torch.ones(1, 2, dtype=torch.int8), "bias": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"strict=True and .* does not fit: 1 of another dtype \(weight\)"):
        initialize(nn.Linear(2, 1), load(path, strict=True))


@SAVES
def test_all_kinds_of_counts(save: Callable[..., None], path: pathlib.Path) -> None:
    content = {
        "0.weight": torch.ones(4, 3),
        "0.bias": torch.ones(5),
        "1.weight": torch.ones(2, 4, dtype=torch.int32),
        "extra.weight": torch.ones(1),
    }
    save(content, path)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    expected = "1 loaded; 1 missing (1.bias); 1 unexpected (extra.weight); 1 mis-shaped (0.bias); "
    expected += "1 of another dtype (1.weight)."
    with pytest.warns(AutoInitWarning) as caught:
        report = initialize(model, [load(path), dict(type="Constant", val=7, layer="Linear", bias=7)])
    assert [str(warning.message) for warning in caught] == [f"init_cfg[0]: {path}: {expected}"]
    assert (model[0].weight == 1).all() and (model[1].weight == 7).all() and (model[0].bias == 7).all()
    assert report["1.weight"].origin == "init_cfg[1]"


def test_a_scalar_of_long_ago(path: pathlib.Path) -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(()))

    torch.save({"scale": torch.tensor([3.0])}, path)
    model = Scale()
    initialize(model, load(path, strict=True))
    assert model.scale.item() == 3.0


def test_a_checkpoint_from_before_batches_were_counted(path: pathlib.Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    content = filled(model, 2.0)
    content.pop("1.num_batches_tracked")
    torch.save(content, path)
    report = initialize(model, load(path, strict=True))
    assert counts(report) == {}
    assert "6 loaded, 0 missing" in str(report.loads[0])
    assert (model[1].running_mean == 2).all()


def test_a_counter_of_ones_own_may_be_missing_too(path: pathlib.Path) -> None:
    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))
            self.register_buffer("num_batches_tracked", torch.tensor(0))

    torch.save({"weight": torch.ones(2)}, path)
    assert counts(initialize(Norm(), load(path, strict=True))) == {}


def test_tied_weights_are_there_under_any_name(path: pathlib.Path) -> None:
    def build() -> nn.Sequential:
        model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
        model[1].weight = model[0].weight
        return model

    for name in ("0.weight", "1.weight"):
        torch.save({name: torch.full((2, 2), 3.0)}, path)
        model = build()
        initialize(model, load(path, strict=True))
        assert (model[0].weight == 3).all() and model[0].weight is model[1].weight


def test_a_shared_module_takes_either_name(path: pathlib.Path) -> None:
    layer = nn.BatchNorm1d(2)
    model = nn.Sequential(layer, layer)
    torch.save(filled(model, 2.0), path)
    initialize(model, load(path, strict=True))
    assert (layer.weight == 2).all()


# Modules with loading code


class Renaming(nn.Module):
    """Its weight had another name in version 1, and half of it stood beside it."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.zeros(4))
        self.calls = 0

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        self.calls += 1
        if local_metadata.get("version", 1) < 2:
            for name in ("weight", "bias"):
                if f"{prefix}linear.{name}" in state_dict:
                    state_dict[f"{prefix}fc.{name}"] = state_dict.pop(f"{prefix}linear.{name}")
            halves = [state_dict.pop(f"{prefix}scale_{side}", None) for side in "ab"]
            if None not in halves:
                state_dict[f"{prefix}scale"] = torch.cat(halves)  # type: ignore[arg-type]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


def old_state(prefix: str = "", value: float = 1.0) -> dict[str, Tensor]:
    return {
        f"{prefix}linear.weight": torch.full((2, 2), value),
        f"{prefix}linear.bias": torch.full((2,), value),
        f"{prefix}scale_a": torch.full((2,), value),
        f"{prefix}scale_b": torch.full((2,), value + 1),
    }


@SAVES
def test_old_names_are_loaded_as_load_state_dict_would(save: Callable[..., None], path: pathlib.Path) -> None:
    model = nn.Sequential(nn.Linear(1, 1), Renaming())
    content = {
        "0.weight": torch.full((1, 1), 5.0),
        "0.bias": torch.full((1,), 5.0),
        **old_state("1."),
        "1.odd": torch.ones(1),
    }
    save(content, path)
    before = model[1].scale.clone()
    with pytest.warns(AutoInitWarning, match=r"5 loaded; 1 unexpected \(1.odd\)\."):
        decided = plan(model, load(path))
    assert model[1].calls == 0 and torch.equal(model[1].scale, before), "planning changes nothing"
    assert decided["1.fc.weight"].origin == "init_cfg"
    report = decided.apply(model)
    assert model[1].calls == 1
    assert (model[1].fc.weight == 1).all() and model[1].scale.tolist() == [1.0, 1.0, 2.0, 2.0]
    assert {entry.outcome for entry in report.values()} == {"filled"}
    reference = nn.Sequential(nn.Linear(1, 1), Renaming())
    reference.load_state_dict({name: tensor for name, tensor in content.items() if name != "1.odd"})
    for name, tensor in reference.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_versions_are_passed_on(path: pathlib.Path) -> None:
    torch.save(nn.Sequential(Renaming()).state_dict(), path)
    content = torch.load(path, weights_only=True)
    content.update(old_state("0."))  # what a new file has under an old name is none of the module's
    torch.save(content, path)
    with pytest.warns(
        AutoInitWarning, match=r"3 loaded; 4 unexpected \(0.linear.weight, 0.linear.bias, 0.scale_a, 0.scale_b\)"
    ):
        initialize(nn.Sequential(Renaming()), load(path))
    model = Renaming()
    with pytest.warns(AutoInitWarning, match="4 unexpected"):
        initialize(model, load(path, prefix="0"))


@pytest.mark.parametrize("build", [lambda: nn.Linear(2, 2), Renaming], ids=["plain", "with code"])
def test_a_state_dict_that_was_assigned_and_saved_is_copied(build: Callable[[], nn.Module], path: pathlib.Path) -> None:
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


def test_hooks_see_all_of_their_modules_names_once(path: pathlib.Path) -> None:
    model = nn.ModuleDict({"a": Hooked(), "b": nn.Linear(2, 2)})
    names = ("a.old.weight", "a.inner.bias", "a.other", "b.weight", "b.bias")
    content = {name: torch.arange(4.0).reshape(2, 2) if "weight" in name else torch.ones(2) for name in names}
    torch.save(content, path)
    with pytest.warns(AutoInitWarning, match=r"4 loaded; 1 unexpected \(a.other\)"):
        initialize(model, load(path))
    assert model["a"].seen == [["a.inner.bias", "a.old.weight", "a.other"]]
    assert model["a"].inner.weight.tolist() == [[0.0, 2.0], [1.0, 3.0]]
    ((missing, unexpected),) = model["a"].told
    assert missing == [] and unexpected == ["a.other"]


def test_hooks_that_run_after_a_load_run_once_children_first(path: pathlib.Path) -> None:
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


def test_a_hook_that_needs_values(path: pathlib.Path) -> None:
    def sort(state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
        if state_dict[f"{prefix}inner.weight"].sum().item() > 3:
            state_dict[f"{prefix}inner.weight"] = torch.tensor(sorted(state_dict[f"{prefix}inner.weight"].tolist()))

    model = nn.Sequential(Hooked(sort))
    weight = torch.tensor([[3.0, 4.0], [1.0, 2.0]])
    torch.save({"0.inner.weight": weight, "0.inner.bias": torch.ones(2)}, path)
    initialize(model, load(path, strict=True))
    assert model[0].inner.weight.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_hook_that_fails_is_found_out_while_planning(path: pathlib.Path) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("no such thing")

    model = nn.Sequential(nn.Linear(2, 2), Hooked(fail))
    torch.save(filled(model, 1.0), path)
    before = model[0].weight.clone()
    with pytest.raises(
        CheckpointError, match=r"the code of Hooked for that failed \(KeyError: 'no such thing'\)"
    ) as caught:
        initialize(model, load(path))
    assert caught.value.origin == "init_cfg" and caught.value.__cause__ is not None
    assert torch.equal(model[0].weight, before)


def test_code_that_fails_when_it_is_in_earnest(path: pathlib.Path) -> None:
    class Moody(nn.Linear):
        ready = False

        def _load_from_state_dict(self, *args: Any) -> None:
            if not self.weight.is_meta:
                raise OSError("not now")
            super()._load_from_state_dict(*args)

    class Refusing(nn.Linear):
        def _load_from_state_dict(
            self, state: Any, prefix: str, about: Any, strict: bool, missing: Any, unexpected: Any, errors: list[str]
        ) -> None:
            errors.append("I would rather not")

    for cls, says in ((Moody, "OSError: not now"), (Refusing, "I would rather not")):
        model = nn.Sequential(cls(2, 2))
        torch.save(filled(model, 1.0), path)
        with pytest.raises(
            ApplyError, match=rf"init_cfg: .* could not be loaded into {cls.__name__}: {says}"
        ) as caught:
            initialize(model, load(path))
        assert caught.value.origin == "init_cfg"


def test_what_must_stay_stays_beside_what_a_module_loads(path: pathlib.Path) -> None:
    model = Renaming()
    content = {**filled(model, 1.0), "scale": torch.ones(4, dtype=torch.int32)}
    torch.save(content, path)
    with pytest.warns(AutoInitWarning, match=r"2 loaded; 1 of another dtype \(scale\)"):
        report = initialize(model, load(path))
    assert (model.fc.weight == 1).all() and (model.scale == 0).all()
    assert report["scale"].outcome == "kept"


def test_weights_that_were_loaded_in_the_block_stay(path: pathlib.Path) -> None:
    torch.save(filled(nn.Sequential(Renaming()), 1.0), path)
    with autoinit.autoinit(load(path)) as run:
        model = nn.Sequential(Renaming())
        model[0].fc.load_state_dict(filled(nn.Linear(2, 2), 9.0))
    assert run.report["0.fc.weight"].outcome == "kept: loaded"
    assert (model[0].fc.weight == 9).all() and (model[0].fc.bias == 9).all()
    assert (model[0].scale == 1).all() and run.report["0.scale"].outcome == "filled"


class NormWithCode(nn.BatchNorm1d):
    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)


@pytest.mark.parametrize("cls", [nn.BatchNorm1d, NormWithCode])
@pytest.mark.parametrize("inner", [False, True])
def test_buffers_that_were_loaded_in_the_block_stay(cls: type[nn.Module], inner: bool, path: pathlib.Path) -> None:
    torch.save(filled(nn.Sequential(nn.Linear(2, 2), cls(2)), 1.0), path)
    with autoinit.autoinit(load(path)) as run:
        with autoinit.autoinit([]) if inner else nullcontext():
            model = nn.Sequential(nn.Linear(2, 2), cls(2))
            model[1].load_state_dict(filled(cls(2), 9.0))
    assert all((tensor == 9).all() for tensor in model[1].state_dict().values())
    assert (model[0].weight == 1).all()
    assert run.report["1.weight"].outcome == "kept: loaded"
    (done,) = run.report.loads
    assert done.keys == ("0.weight", "0.bias") and set(done.kept) == {f"1.{name}" for name in cls(2).state_dict()}
    assert str(done).endswith("2 loaded, 0 missing, 0 unexpected, 0 mis-shaped, 0 of another dtype, 5 kept as they are")
    assert run.report.to_dict()["loads"][0]["kept"] == list(done.kept)


@pytest.mark.parametrize("cls", [nn.BatchNorm1d, NormWithCode])
def test_buffers_of_a_module_from_outside_stay(cls: type[nn.Module], path: pathlib.Path) -> None:
    torch.save(filled(nn.Sequential(nn.Linear(2, 2), cls(2)), 5.0), path)
    outside = cls(2)
    before = {name: tensor.clone() for name, tensor in outside.state_dict().items()}
    with autoinit.autoinit(load(path)):
        model = nn.Sequential(nn.Linear(2, 2), outside)
    assert (model[0].weight == 5).all()
    for name, tensor in outside.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_of_two_checkpoints_the_outer_one_wins_with_its_buffers(path: pathlib.Path) -> None:
    other = path.with_name("other.pth")
    for number, at in enumerate((path, other)):
        torch.save(filled(nn.Sequential(nn.BatchNorm1d(2)), float(number)), at)
    with autoinit.autoinit(load(path)):
        with autoinit.autoinit(load(other)):
            model = nn.Sequential(nn.BatchNorm1d(2))
    assert all((tensor == 0).all() for tensor in model.state_dict().values())


def test_an_override_beats_what_a_module_loads(path: pathlib.Path) -> None:
    model = nn.Sequential(Renaming())
    torch.save(filled(model, 1.0), path)
    initialize(model, load(path, override=dict(name="0.fc", type="Constant", val=5, bias=5)))
    assert (model[0].fc.weight == 5).all() and (model[0].scale == 1).all()


def test_an_outer_block_knows_what_an_inner_one_has_loaded(path: pathlib.Path) -> None:
    torch.save(filled(nn.Sequential(Renaming(), nn.Linear(1, 1)), 1.0), path)

    def build() -> tuple[nn.Module, Report]:
        with autoinit.autoinit(dict(type="Constant", val=3, layer="Linear", params="*")) as outer:
            with autoinit.autoinit(load(path)):
                model = nn.Sequential(Renaming(), nn.Linear(1, 1))
        return model, outer.report

    with pytest.warns(AutoInitWarning, match=r"layer='Linear'.* matches only loaded parameters \(0.fc.weight, "):
        model, report = build()
    assert all((param == 1).all() for param in model.parameters())
    assert report["0.fc.weight"].outcome == "kept: loaded"


def test_a_plan_is_applied_to_another_model(path: pathlib.Path) -> None:
    torch.save(old_state(), path)
    with torch.device("meta"):
        decided = plan(Renaming(), load(path))
    model = Renaming()
    pickle.loads(pickle.dumps(decided)).apply(model)
    assert (model.fc.weight == 1).all()


# Wrappers


@pytest.mark.parametrize(
    "wrap",
    [checkpoint_wrapper, nn.DataParallel, lambda module: torch.compile(module, backend="eager")],
    ids=["checkpoint", "parallel", "compile"],
)
@pytest.mark.compiles
def test_wrappers_inside_a_model(wrap: Callable[[nn.Module], nn.Module], path: pathlib.Path) -> None:
    def build() -> nn.Sequential:
        return nn.Sequential(nn.Linear(2, 2), nn.Sequential(Renaming(), nn.BatchNorm1d(2)))

    torch.save({**filled(build(), 2.0), **old_state("1.0.")}, path)
    model = build()
    model[1] = wrap(model[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AutoInitWarning)
        report = initialize(model, load(path))
    assert set(report) == {"0.weight", "0.bias", "1.0.fc.weight", "1.0.fc.bias", "1.0.scale", "1.1.weight", "1.1.bias"}
    assert {entry.outcome for entry in report.values()} == {"filled"}
    assert (model[0].weight == 2).all()
    assert {name for name in report.loads[0].keys if "_" not in name} == set(report)


def test_a_wrapper_below_a_module_with_a_hook(path: pathlib.Path) -> None:
    model = nn.Sequential(Hooked(), nn.Linear(2, 2))
    model[0].inner = nn.DataParallel(nn.Sequential(nn.Linear(2, 2)))
    names = ("0.inner.0.weight", "0.inner.0.bias", "1.weight", "1.bias")
    torch.save({name: torch.ones(2, 2) if "weight" in name else torch.ones(2) for name in names}, path)
    report = initialize(model, load(path, strict=True))
    assert set(report) == set(names)
    assert all((param == 1).all() for param in model.parameters())


# Special parameters


@SAVES
def test_lazy_parameters_get_their_shape_from_the_checkpoint(save: Callable[..., None], path: pathlib.Path) -> None:
    save(filled(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), 2.0), path)
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())
    decided = plan(model, load(path, strict=True))
    assert nn.parameter.is_lazy(model[0].weight) and decided["0.weight"].shape is None
    weight = model[0].weight
    report = decided.apply(model)
    assert model[0].weight is weight and weight.shape == (4, 3) and (weight == 2).all()
    assert report["0.weight"].shape == (4, 3)
    assert (model[1].running_mean == 2).all()
    assert {entry.outcome for entry in report.values()} == {"filled"}
    assert (model(torch.ones(2, 3)) == model(torch.ones(2, 3))).all()


def test_elements_that_share_memory_are_found_out_while_planning(path: pathlib.Path) -> None:
    model = nn.Linear(2, 3)
    model.bias = nn.Parameter(torch.zeros(1).expand(3))
    torch.save({"weight": torch.ones(3, 2), "bias": torch.ones(3)}, path)
    before = model.weight.clone()
    with pytest.raises(CheckpointError, match="cannot be loaded into bias: its elements share memory") as caught:
        initialize(model, load(path))
    assert (caught.value.origin, caught.value.fqn) == ("init_cfg", "bias")
    assert torch.equal(model.weight, before)


def test_identity_strides_and_version_are_as_after_a_copy(path: pathlib.Path) -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last), nn.Linear(2, 2))
    model[1].weight.requires_grad_(False)
    torch.save(filled(model, 1.0), path)
    before = {name: (id(p), p.stride(), p.requires_grad, p._version) for name, p in model.named_parameters()}
    initialize(model, load(path))
    for name, param in model.named_parameters():
        assert (id(param), param.stride(), param.requires_grad, param._version) == (
            *before[name][:3],
            before[name][3] + 1,
        )
        assert (param == 1).all()


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")  # as above
def test_odd_tensors_in_a_file(path: pathlib.Path) -> None:
    base = torch.arange(8.0)
    content = {
        "row": base[2:4],
        "turned": torch.arange(6.0).reshape(2, 3).t(),
        "wide": torch.ones(1).expand(5),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "negative": torch.tensor([1 + 2j]).conj().imag,
        "sparse": torch.eye(2).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8),
        "empty": torch.empty(0, 3),
        "nothing": torch.empty(2, device="meta"),
    }
    for part in ({**content}, {name: value for name, value in content.items() if name != "quantized"}):
        torch.save(part, path)
        checkpoint = open_checkpoint(path)
        part.pop("nothing")
        got = dict(checkpoint.tensors(checkpoint.shapes))
        assert set(got) == set(part)
        for name, tensor in part.items():
            assert got[name].dtype == tensor.dtype == checkpoint.dtypes[name]
            assert got[name].shape == tensor.shape == checkpoint.shapes[name]
            assert torch.equal(dense(got[name]), dense(tensor)), name


def dense(tensor: Tensor) -> Tensor:
    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    return (tensor.to_dense() if tensor.is_sparse else tensor).resolve_conj().resolve_neg()


# Real models


def test_torchvisions_vision_transformer_of_old(path: pathlib.Path) -> None:
    """Its published weights have the names of its first version, which its own code turns into today's."""
    torchvision_operators()
    from torchvision.models import VisionTransformer

    def build() -> VisionTransformer:
        return VisionTransformer(
            image_size=8, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3
        )

    source = build()
    renamed = {
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): tensor
        for name, tensor in source.state_dict().items()
    }
    assert any("linear_2" in name for name in renamed)
    torch.save(renamed, path)
    model = build()
    report = initialize(model, load(path, strict=True))
    assert counts(report) == {}
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_torchvisions_mnasnet_needs_its_version(path: pathlib.Path) -> None:
    torchvision_operators()
    from torchvision.models import mnasnet0_5

    source, model = mnasnet0_5(), mnasnet0_5()
    torch.save(source.state_dict(), path)
    initialize(model, load(path, strict=True))
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in source.state_dict().items())
    torch.save(dict(source.state_dict()), path)
    with pytest.raises(CheckpointError, match="the code of MNASNet for that failed"):
        initialize(model, load(path, strict=True))
