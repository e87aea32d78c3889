"""Checkpoints loaded into models: what fits, parameters of special kinds, and parts that have to stay as they are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoinit import AutoInitWarning, CheckpointError, autoinit, initialize, plan
from tests.checkpoint_files import SAVES, assert_same
from tests.checkpoint_models import Renaming, counts, filled, load
from tests.models import Around


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
def test_numbers_of_one_kind_are_cast_and_others_do_not_fit(dtype: torch.dtype, path: Path) -> None:
    names = ("floating", "halved", "complex", "integer", "boolean")
    torch.save({name: torch.ones(2).to(dtype) for name in names}, path)
    model = Mixed()
    fitting = names[:2] if dtype in FLOATING else names[2:3] if dtype in COMPLEX else names[3:]
    others = [name for name in names if name not in fitting]
    says = rf"{len(fitting)} loaded; {len(others)} of another dtype \({', '.join(others)}\)"
    with pytest.warns(AutoInitWarning, match=says):
        report = initialize(model, load(path))
    assert counts(report) == {"other_dtype": others}
    for name in names:
        tensor = getattr(model, name)
        assert tensor.dtype == getattr(Mixed(), name).dtype
        assert (tensor == (1 if name in fitting else 0)).all()
    assert str(report.loads[0]).endswith(
        f"{len(fitting)} loaded, 0 missing, 0 unexpected, 0 of another shape, {len(others)} of another dtype"
    )
    assert report.to_dict()["loads"][0]["other_dtype"] == others


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")  # torch's own, when it reads such a file
def test_weights_of_integers_do_not_fit(path: Path) -> None:
    layer = nn.Linear(2, 1)
    before = layer.weight.clone()
    quantized = torch.quantize_per_tensor(torch.ones(1, 2), 0.1, 0, torch.qint8)
    for weight in (quantized, quantized.int_repr()):
        torch.save({"weight": weight, "bias": torch.ones(1)}, path)
        with pytest.warns(AutoInitWarning, match=r"1 loaded; 1 of another dtype \(weight\)"):
            initialize(layer, load(path))
        with pytest.raises(CheckpointError, match=r"strict=True and .* does not fit: 1 of another dtype \(weight\)"):
            initialize(layer, load(path, strict=True))
    torch.save({"weight": quantized.int_repr(), "bias": torch.ones(1, dtype=torch.int8)}, path)
    with pytest.raises(CheckpointError, match=r"nothing in .* fits Linear: 2 of another dtype \(weight, bias\)"):
        initialize(layer, load(path))
    assert torch.equal(layer.weight, before)


@SAVES
def test_all_kinds_of_counts(save: Callable[..., None], path: Path) -> None:
    content = {"0.weight": torch.ones(4, 3), "0.bias": torch.ones(5), "extra.weight": torch.ones(1)}
    save(content | {"1.weight": torch.ones(2, 4, dtype=torch.int32)}, path)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    expected = "1 loaded; 1 missing (1.bias); 1 unexpected (extra.weight); 1 of another shape (0.bias); "
    expected += "1 of another dtype (1.weight)."
    with pytest.warns(AutoInitWarning) as caught:
        report = initialize(model, [load(path), dict(type="Constant", val=7, layer="Linear", bias=7)])
    assert [str(warning.message) for warning in caught] == [f"init_cfg[0]: {path}: {expected}"]
    assert (model[0].weight == 1).all() and (model[1].weight == 7).all() and (model[0].bias == 7).all()
    assert report["1.weight"].origin == "init_cfg[1]"


def test_files_of_long_ago(path: Path) -> None:
    """Without scalars, and from before batches were counted."""
    model = Around(scale=torch.zeros(()))
    torch.save({"scale": torch.tensor([3.0])}, path)
    assert counts(initialize(model, load(path, strict=True))) == {}
    assert model.scale.item() == 3.0
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    torch.save({name: tensor for name, tensor in filled(model, 2.0).items() if "num_batches" not in name}, path)
    report = initialize(model, load(path, strict=True))
    assert counts(report) == {} and "6 loaded, 0 missing" in str(report.loads[0])
    assert (model[1].running_mean == 2).all()


def test_what_has_two_names_is_there_under_either(path: Path) -> None:
    for name in ("0.weight", "1.weight"):
        torch.save({name: torch.full((2, 2), 3.0)}, path)
        model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
        model[1].weight = model[0].weight
        initialize(model, load(path, strict=True))
        assert (model[0].weight == 3).all() and model[0].weight is model[1].weight
    layer = nn.BatchNorm1d(2)
    torch.save(filled(nn.Sequential(layer, layer), 2.0), path)
    initialize(nn.Sequential(layer, layer), load(path, strict=True))
    assert (layer.weight == 2).all()


@SAVES
def test_lazy_parameters_get_their_shape_from_the_checkpoint(save: Callable[..., None], path: Path) -> None:
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


def test_elements_that_share_memory_are_found_out_while_planning(path: Path) -> None:
    model = nn.Linear(2, 3)
    model.bias = nn.Parameter(torch.zeros(1).expand(3))
    torch.save({"weight": torch.ones(3, 2), "bias": torch.ones(3)}, path)
    before = model.weight.clone()
    with pytest.raises(CheckpointError, match="cannot be loaded into bias: its elements share memory") as caught:
        initialize(model, load(path))
    assert (caught.value.origin, caught.value.fqn) == ("init_cfg", "bias")
    assert torch.equal(model.weight, before)


def test_identity_strides_and_version_are_as_after_a_copy(path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last), nn.Linear(2, 2))
    model[1].weight.requires_grad_(False)
    torch.save(filled(model, 1.0), path)
    before = {name: (id(p), p.stride(), p.requires_grad, p._version) for name, p in model.named_parameters()}
    initialize(model, load(path))
    for name, param in model.named_parameters():
        *same, version = before[name]
        assert [id(param), param.stride(), param.requires_grad] == same and param._version == version + 1
        assert (param == 1).all()


@pytest.mark.parametrize("model", [lambda: nn.Linear(3, 2), lambda: WithHook()])
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_values_are_loaded_into_dense_ones(
    model: Callable[[], nn.Module], layout: torch.layout, path: Path
) -> None:
    weight = torch.tensor([[0.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
    torch.save({"weight": weight.to_sparse(layout=layout), "bias": torch.ones(2)}, path)
    linear = model()
    initialize(linear, load(path))
    assert torch.equal(linear.weight, weight)  # type: ignore[arg-type]


class WithHook(nn.Linear):
    """A layer with loading code of its own."""

    def __init__(self) -> None:
        super().__init__(3, 2)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], *args: Any) -> None:
        super()._load_from_state_dict(dict(state_dict), *args)  # type: ignore[no-untyped-call]


def test_what_must_stay_stays_beside_what_a_module_loads(path: Path) -> None:
    model = Renaming()
    torch.save({**filled(model, 1.0), "scale": torch.ones(4, dtype=torch.int32)}, path)
    with pytest.warns(AutoInitWarning, match=r"2 loaded; 1 of another dtype \(scale\)"):
        report = initialize(model, load(path))
    assert (model.fc.weight == 1).all() and (model.scale == 0).all()
    assert report["scale"].outcome == "kept"


def test_weights_that_were_loaded_in_the_block_stay(path: Path) -> None:
    torch.save(filled(nn.Sequential(Renaming()), 1.0), path)
    with autoinit(load(path)) as run:
        model = nn.Sequential(Renaming())
        model[0].fc.load_state_dict(filled(nn.Linear(2, 2), 9.0))
    assert run.report["0.fc.weight"].outcome.startswith("kept: data")
    assert (model[0].fc.weight == 9).all() and (model[0].fc.bias == 9).all()
    assert (model[0].scale == 1).all() and run.report["0.scale"].outcome == "filled"


class NormWithCode(nn.BatchNorm1d):
    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)


@pytest.mark.parametrize("cls", [nn.BatchNorm1d, NormWithCode])
@pytest.mark.parametrize("inner", [False, True])
def test_buffers_that_were_loaded_in_the_block_stay(cls: type[nn.Module], inner: bool, path: Path) -> None:
    torch.save(filled(nn.Sequential(nn.Linear(2, 2), cls(2)), 1.0), path)
    with autoinit(load(path)) as run:
        with autoinit([]) if inner else nullcontext():
            model = nn.Sequential(nn.Linear(2, 2), cls(2))
            model[1].load_state_dict(filled(cls(2), 9.0))
    assert all((tensor == 9).all() for tensor in model[1].state_dict().values())
    assert (model[0].weight == 1).all()
    assert run.report["1.weight"].outcome.startswith("kept: data")
    (done,) = run.report.loads
    assert done.keys == ("0.weight", "0.bias") and set(done.kept) == {f"1.{name}" for name in cls(2).state_dict()}
    assert str(done).endswith("0 of another shape, 0 of another dtype, 5 kept as they are")
    assert run.report.to_dict()["loads"][0]["kept"] == list(done.kept)


@pytest.mark.parametrize("cls", [nn.BatchNorm1d, NormWithCode])
def test_buffers_of_a_module_from_outside_stay(cls: type[nn.Module], path: Path) -> None:
    torch.save(filled(nn.Sequential(nn.Linear(2, 2), cls(2)), 5.0), path)
    outside = cls(2)
    before = copy.deepcopy(outside.state_dict())
    with autoinit(load(path)):
        model = nn.Sequential(nn.Linear(2, 2), outside)
    assert (model[0].weight == 5).all()
    assert_same(outside.state_dict(), before)


def test_of_two_checkpoints_the_outer_one_wins_with_its_buffers(path: Path) -> None:
    other = path.with_name("other.pth")
    for number, at in enumerate((path, other)):
        torch.save(filled(nn.Sequential(nn.BatchNorm1d(2)), float(number)), at)
    with autoinit(load(path)):
        with autoinit(load(other)):
            model = nn.Sequential(nn.BatchNorm1d(2))
    assert all((tensor == 0).all() for tensor in model.state_dict().values())


def test_an_outer_block_knows_what_an_inner_one_has_loaded(path: Path) -> None:
    torch.save(filled(nn.Sequential(Renaming(), nn.Linear(1, 1)), 1.0), path)
    with autoinit(dict(type="Constant", val=3, layer="Linear", params="*")) as outer:
        with autoinit(load(path)):
            model = nn.Sequential(Renaming(), nn.Linear(1, 1))
    assert all((param == 1).all() for param in model.parameters())
    assert outer.report["0.fc.weight"].outcome == "kept: filled by an inner block"
