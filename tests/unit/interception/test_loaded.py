"""Loaded is sacred: whatever brings weights into a block, no rule overwrites them, and the report says so."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from autoinit import ApplyError, AutoInitWarning, Report, Run, autoinit, initialize
from autoinit.construction.operators import OF_TORCH
from tests.processes import Interpreter

# Rules all of whose matches are kept are warned of; here most are.
pytestmark = pytest.mark.filterwarnings("ignore:.* fills nothing")

SEVEN = dict(type="Constant", val=7, layer=["Linear", "LayerNorm"])


class Net(nn.Module):
    """A loader of its own, as timm's models have for files of other frameworks."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
        self.head = nn.Linear(3, 2)

    def load_pretrained(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            self.body[0].weight.copy_(values["kernel"].t())
            self.body[0].bias.data = values["bias"]
        self.head.weight = nn.Parameter(values["head"])


class ReadsItself(nn.Linear):
    """Overrides the method that `load_state_dict` calls, and does not call the original."""

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: object) -> None:
        with torch.no_grad():
            self.weight.copy_(state_dict[prefix + "weight"])


def filled(report: Report) -> set[str]:
    return {fqn for fqn, entry in report.items() if entry.outcome == "filled"}


def saved(model: object) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return file


def outcomes(run: Run) -> list[str]:
    """What became of the weights of all roots, without the places."""
    return [report["weight"].outcome.partition(" (")[0] for report in run.reports]


def loaded(report: Report) -> set[str]:
    return {fqn for fqn, entry in report.items() if entry.outcome.startswith("kept: data")}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("assign", [True, False])
def test_load_state_dict(strict: bool, assign: bool) -> None:
    donor = Net()
    with autoinit(SEVEN) as run:
        model = nn.Sequential(Net(), nn.Linear(2, 2))
        model[0].load_state_dict(donor.state_dict(), strict=strict, assign=assign)
    assert filled(run.report) == {"1.weight", "1.bias"}
    assert loaded(run.report) == {f"0.{name}" for name in donor.state_dict()}
    assert all(torch.equal(one, two) for one, two in zip(model[0].parameters(), donor.parameters(), strict=True))


@pytest.mark.parametrize("assign", [True, False])
def test_with_a_key_missing_that_is_new(assign: bool) -> None:
    donor = Net().state_dict()
    del donor["head.bias"]
    with autoinit(SEVEN) as run:
        model = Net()
        model.load_state_dict(donor, strict=False, assign=assign)
        clone = copy.deepcopy(model)
    assert [entry.overrides[0].origin for entry in run.reports[0].values() if entry.kept] == ["init_cfg"] * 5
    for each, report in zip((model, clone), run.reports, strict=True):
        assert not filled(report) - {"head.bias"} and not each.head.bias.any()
        assert torch.equal(each.head.weight, donor["head.weight"])


@pytest.mark.parametrize(("key", "value"), [("head.bias", None), ("head.bias", torch.zeros(7))])
def test_what_an_error_left_loaded_is_kept(key: str, value: Tensor | None) -> None:
    donor = {name: tensor for name, tensor in (Net().state_dict() | {key: value}).items() if tensor is not None}
    with autoinit(SEVEN) as run:
        model = Net()
        with pytest.raises(RuntimeError, match="Missing key|size mismatch"):
            model.load_state_dict(donor)
    assert filled(run.report) == {key}


@pytest.mark.parametrize("overwrite", [False, True], ids=("", "new parameters"))
@pytest.mark.parametrize("convert", [lambda m: m, lambda m: m.double(), copy.deepcopy])
def test_a_part_of_a_model_is_loaded_whatever_becomes_of_it(convert: Callable[..., nn.Module], overwrite: bool) -> None:
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(overwrite)
    try:
        with autoinit(SEVEN) as run:
            model = Net()
            model.body.load_state_dict(Net().body.state_dict())
            model = convert(model)
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
    assert loaded(run.reports[-1]) == {"body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias"}


@pytest.mark.parametrize("read", [torch.load, lambda file, **_: pickle.load(io.BytesIO(pickle.dumps(Net())))])
def test_a_whole_module(read: Callable[..., nn.Module]) -> None:
    with autoinit(SEVEN) as run:
        model = read(saved(Net()), weights_only=False)
        model.extra = nn.Linear(2, 2)
    assert loaded(run.report) == {name for name, _ in Net().named_parameters()}
    assert filled(run.report) == {"extra.weight", "extra.bias"}
    assert model.head.weight.abs().max() < 7


class WithOwn(nn.Linear):
    init_cfg = dict(type="Constant", val=5, layer="Linear")

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.ran = 0

    def init_weights(self) -> None:
        self.ran += 1
        nn.init.zeros_(self.weight)


@pytest.mark.parametrize("whole", [False, True])
def test_an_own_init_weights_does_not_overwrite_what_was_loaded(whole: bool) -> None:
    donor = WithOwn()
    with autoinit(SEVEN) as run:
        if whole:
            model = torch.load(saved(donor), weights_only=False)
        else:
            model = WithOwn()
            model.load_state_dict(donor.state_dict())
    assert torch.equal(model.weight, donor.weight)
    assert model.ran == (not whole)
    assert all(outcome.startswith("kept: data") for outcome in run.report.outcomes)


def test_an_own_init_weights_that_fails_half_way_does_not_overwrite_it_either() -> None:
    class Fails(WithOwn):
        def init_weights(self) -> None:
            super().init_weights()
            raise ValueError("half way")

    donor, built = WithOwn(), []
    with pytest.raises(ApplyError, match=r"Fails.init_weights\(\) failed: ValueError: half way"):
        with autoinit(SEVEN):
            built.append(Fails())
            built[0].load_state_dict(donor.state_dict())
    assert torch.equal(built[0].weight, donor.weight)


def test_a_models_own_loader() -> None:
    values = {"kernel": torch.ones(3, 3), "bias": torch.full((3,), 2.0), "head": torch.full((2, 3), 3.0)}
    with autoinit(SEVEN) as run:
        model = Net()
        model.load_pretrained(values)
    assert loaded(run.report) == {"body.0.weight", "body.0.bias", "head.weight"}
    assert filled(run.report) == {"body.1.weight", "body.1.bias", "head.bias"}
    assert (model.body[0].weight.unique().item(), model.body[0].bias.unique().item()) == (1, 2)
    assert model.head.weight.unique().item() == 3
    assert "load_pretrained" in Net.__dict__ and type(Net.__dict__["load_pretrained"]).__name__ == "function"


def test_a_class_that_reads_its_part_of_a_state_dict_itself() -> None:
    with autoinit(SEVEN) as run:
        model = nn.Sequential(ReadsItself(2, 2), nn.Linear(2, 2))
        model.load_state_dict({"0.weight": torch.ones(2, 2)}, strict=False)
    assert loaded(run.report) == {"0.weight"}
    assert model[0].weight.eq(1).all()
    assert type(ReadsItself.__dict__["_load_from_state_dict"]).__name__ == "function"


def test_a_rule_for_loaded_parameters_only_says_so() -> None:
    def build() -> nn.Module:
        model = Net()
        model.body.load_state_dict(Net().body.state_dict())
        return model

    cfg = [dict(type="Constant", layer="LayerNorm", val=7), dict(type="Constant", layer="Linear", val=7)]
    line = build.__code__.co_firstlineno + 2
    with pytest.warns(AutoInitWarning) as told:
        autoinit(cfg)(build)()
    assert [str(each.message) for each in told] == [
        "init_cfg[0] (layer='LayerNorm') fills nothing: all that it matches (body.1.weight, body.1.bias) is kept as it "
        f"is: data (load_state_dict, test_loaded.py:{line}). Add overwrite=True to the rule "
        "if it should be filled."
    ]


def test_a_pretrained_rule_does_not_load_over_what_was_loaded(tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "file.pth")
    donor = nn.Linear(2, 2)
    with autoinit(dict(type="Pretrained", checkpoint=str(tmp_path / "file.pth"))) as run:
        model = nn.Linear(2, 2)
        model.load_state_dict(donor.state_dict())
    assert torch.equal(model.weight, donor.weight)
    assert all(outcome.startswith("kept: data") for outcome in run.report.outcomes)


def test_initialize_takes_every_parameter_as_one_that_it_may_fill() -> None:
    model = Net()
    model.load_state_dict(Net().state_dict())
    assert set(initialize(model, SEVEN).outcomes) == {"filled"}


def test_no_trace_is_left_on_module() -> None:
    before = {name: nn.Module.__dict__[name] for name in ("__init__", "_load_from_state_dict", "__setstate__")}
    had_reduce = "__reduce_ex__" in nn.Module.__dict__
    with autoinit(SEVEN):
        model = parametrizations.weight_norm(nn.Linear(2, 2))
        assert nn.Module.__dict__["__setstate__"] is not before["__setstate__"]
    assert {name: nn.Module.__dict__[name] for name in before} == before
    assert ("__reduce_ex__" in nn.Module.__dict__) == had_reduce
    assert type(type(model).__dict__["__deepcopy__"]).__name__ == "function"
    assert type(nn.utils.parametrize._inject_new_class).__name__ == "function"


def test_data_that_a_thread_writes_by_way_of_data() -> None:
    """`.data` has a version counter of its own, so that only the values tell."""
    data = torch.full((80, 80), 5.0)
    with autoinit(dict(type="Constant", layer="Linear", val=3.0)) as run:
        first = nn.Linear(80, 80)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(first.weight.data.copy_, data).result()
            second = nn.Linear(80, 80)
            pool.submit(second.weight.data.copy_, data).result()
    assert outcomes(run) == ["kept: data", "kept: data"]
    assert (first.weight == 5).all() and (second.weight == 5).all()


@pytest.mark.parametrize("how", ["torch", "storage"])
def test_a_file_that_is_a_weights_memory_is_not_written_by_rules(how: str, tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(4 * 6400))
    with autoinit(dict(type="Constant", layer="Linear", val=3.0)) as run:
        layer = nn.Linear(80, 80, bias=False)
        if how == "torch":
            mapped = torch.from_file(str(file), shared=True, size=6400).view(80, 80)
        else:
            storage = torch.UntypedStorage.from_file(str(file), True, 4 * 6400)
            mapped = torch.empty(0).set_(storage, 0, (80, 80), (80, 1))
        layer.weight = nn.Parameter(mapped)
        nn.init.ones_(layer.weight)
    assert run.report["weight"].outcome.startswith("kept: data")
    assert (layer.weight == 1).all()


def test_what_a_thread_has_written_is_data_also_where_another_parameter_gets_its_memory() -> None:
    with autoinit(dict(type="Constant", layer="Linear", val=3.0)) as run:
        model = nn.Sequential(nn.Linear(80, 80), nn.Linear(80, 80))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(nn.init.constant_, model[0].weight, 5.0).result()
        model[1].weight.data = model[0].weight.data
    assert run.report["1.weight"].outcome.startswith("kept: data")
    assert (model[1].weight == 5).all()


@pytest.mark.parametrize("size", [8, 80])
def test_what_was_written_unseen_before_a_thread_gets_work_is_data_still(size: int) -> None:
    with autoinit(dict(type="Constant", layer="Linear", val=3.0)) as run:
        layer = nn.Linear(size, size)
        layer.weight.detach().numpy()[:] = 7.0
        with ThreadPoolExecutor(1) as pool:
            pool.submit(int).result()
    assert run.report["weight"].outcome.startswith("kept: data")
    assert (layer.weight == 7).all()


@torch.library.custom_op("autoinit_tests::load", mutates_args=())
def load(size: int) -> torch.Tensor:
    """As a library in C++ reads weights: no operator of torch, no tensor among the arguments."""
    return torch.from_numpy(np.full((size, size), 5.0, np.float32))


def test_what_an_operator_of_another_library_makes_is_data() -> None:
    with autoinit(dict(type="Constant", layer="Linear", val=3.0)) as run:
        layer = nn.Linear(8, 8)
        layer.weight = nn.Parameter(load(8))
    assert "autoinit_tests.load" in run.report["weight"].outcome
    assert (layer.weight == 5).all()


def test_every_namespace_of_operators_that_come_with_torch_is_known(interpreter: Interpreter) -> None:
    code = "import torch, torch.distributed.fsdp; print(*torch._C._dispatch_get_all_op_names())"
    assert {name.partition("::")[0] for name in interpreter.check(code).split()} <= OF_TORCH


@pytest.mark.parametrize("size", [8, 80])
def test_a_copy_of_which_all_data_was_overwritten_is_initialization(size: int) -> None:
    outside = torch.randn(size, size)
    with autoinit([SEVEN]) as run:
        source, cloned, partly, halved = (nn.Linear(size, size) for _ in range(4))
        source.weight.data[0].copy_(outside[0])
        cloned.weight.data = source.weight.data.clone()
        partly.weight.data.copy_(source.weight.data)
        partly.weight.data.mul_(2)
        for layer, row in (cloned, 0), (partly, 1):
            layer.weight.data[row] = 1.0
        halved.weight.data[:2] = outside[:2]
        halved.weight.data.mul_(0.5)
        halved.weight.data.narrow(0, 0, 2).uniform_()
    assert outcomes(run) == ["kept: data", "filled", "kept: data", "filled"]
    assert torch.equal(partly.weight[0], 2 * outside[0])


def test_a_part_of_memory_that_gets_a_copy_of_unwritten_memory_is_not_written_either() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (nn.Parameter(half) for half in torch.ones(4, 3).chunk(2))
            self.first.data.copy_(torch.empty(2, 3))
            self.after = nn.Linear(3, 3)

    with pytest.warns(AutoInitWarning, match="first: nothing was written"), autoinit([SEVEN]) as run:
        model = Halves()
    assert [run.report[name].outcome for name in ("first", "second")] == ["never written", "kept"]
    assert bool((model.second == 1).all())


@pytest.mark.parametrize("size", [8, 128])
def test_memory_from_before_the_block_stays_that_when_an_operator_may_resize_it(size: int) -> None:
    outside = torch.ones(size)
    with autoinit([SEVEN]) as run:
        layer = nn.Linear(size, size)
        layer.bias = nn.Parameter(outside)
        torch.randn(size, out=layer.bias.data)
        inside = nn.Linear(size, size)
        inside.bias = nn.Parameter(torch.empty(0))
        torch.randn(size, out=inside.bias.data)
    outcomes = [report["bias"].outcome.partition(" (")[0] for report in run.reports]
    assert outcomes == ["kept: data", "filled"]
    assert bool(outside.any()) and not bool(inside.bias.any())


def test_data_that_is_overwritten_after_operators_that_work_element_by_element() -> None:
    outside = torch.ones(4, 8)
    with autoinit([SEVEN]) as run:
        layer = nn.Linear(8, 8)
        layer.weight.data[:4] = outside
        layer.weight.data.index_fill_(0, torch.tensor([1]), 3.0)
        torch.mul(layer.weight.data, 0.5, out=layer.weight.data)
        layer.weight.data = layer.weight.data + 1
        layer.weight.data[:4].uniform_()
    assert run.report["weight"].outcome == "filled"
