"""Checkpoints loaded into models of which a part has to stay as it is."""

from __future__ import annotations

import copy
import pathlib
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import AutoInitWarning, autoinit, initialize
from tests.checkpoint_files import assert_same
from tests.checkpoint_models import Renaming, filled, load

# Rules all of whose matches are kept are warned of; here most are.
pytestmark = pytest.mark.filterwarnings("ignore:.* fills nothing")


def test_what_must_stay_stays_beside_what_a_module_loads(path: pathlib.Path) -> None:
    model = Renaming()
    torch.save({**filled(model, 1.0), "scale": torch.ones(4, dtype=torch.int32)}, path)
    with pytest.warns(AutoInitWarning, match=r"2 loaded; 1 of another dtype \(scale\)"):
        report = initialize(model, load(path))
    assert (model.fc.weight == 1).all() and (model.scale == 0).all()
    assert report["scale"].outcome == "kept"


def test_weights_that_were_loaded_in_the_block_stay(path: pathlib.Path) -> None:
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
def test_buffers_that_were_loaded_in_the_block_stay(cls: type[nn.Module], inner: bool, path: pathlib.Path) -> None:
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
def test_buffers_of_a_module_from_outside_stay(cls: type[nn.Module], path: pathlib.Path) -> None:
    torch.save(filled(nn.Sequential(nn.Linear(2, 2), cls(2)), 5.0), path)
    outside = cls(2)
    before = copy.deepcopy(outside.state_dict())
    with autoinit(load(path)):
        model = nn.Sequential(nn.Linear(2, 2), outside)
    assert (model[0].weight == 5).all()
    assert_same(outside.state_dict(), before)


def test_of_two_checkpoints_the_outer_one_wins_with_its_buffers(path: pathlib.Path) -> None:
    other = path.with_name("other.pth")
    for number, at in enumerate((path, other)):
        torch.save(filled(nn.Sequential(nn.BatchNorm1d(2)), float(number)), at)
    with autoinit(load(path)):
        with autoinit(load(other)):
            model = nn.Sequential(nn.BatchNorm1d(2))
    assert all((tensor == 0).all() for tensor in model.state_dict().values())


def test_an_outer_block_knows_what_an_inner_one_has_loaded(path: pathlib.Path) -> None:
    torch.save(filled(nn.Sequential(Renaming(), nn.Linear(1, 1)), 1.0), path)
    with autoinit(dict(type="Constant", val=3, layer="Linear", params="*")) as outer:
        with autoinit(load(path)):
            model = nn.Sequential(Renaming(), nn.Linear(1, 1))
    assert all((param == 1).all() for param in model.parameters())
    assert outer.report["0.fc.weight"].outcome == "kept: filled by an inner block"
