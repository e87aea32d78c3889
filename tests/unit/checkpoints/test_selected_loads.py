"""Checkpoints of which a rule loads a part: the modules of its `name`, the parameters of its `params`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import AutoInitWarning, CheckpointError, ConfigTypeError, MatchError, autoinit, initialize, plan
from tests.checkpoint_files import assert_same
from tests.checkpoint_models import Renaming, load
from tests.models import filled_with


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
        self.head = nn.Linear(2, 2)
        self.token = nn.Parameter(torch.zeros(3))


NAMES = set(Net().state_dict())
BACKBONE = {name for name in NAMES if name.startswith("backbone.")}


@pytest.fixture(autouse=True)
def path(path: Path) -> Path:
    torch.save({name: torch.full_like(tensor, 7) for name, tensor in Net().state_dict().items()}, path)
    return path


def loaded(model: nn.Module) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if (tensor == 7).all()}


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (dict(name="backbone"), BACKBONE),
        (dict(name="backbone.*"), BACKBONE),
        (dict(name="**"), NAMES),
        (dict(name=r"re:backbone\.1"), {name for name in NAMES if name.startswith("backbone.1.")}),
        (dict(name="head.weight"), {"head.weight"}),
        (dict(name=["head.bias", "token"]), {"head.bias", "token"}),
        (dict(params="weight"), {name for name in NAMES if name.endswith(".weight")}),
        (dict(params="running_*"), {"backbone.1.running_mean", "backbone.1.running_var"}),
        (dict(params="backbone.*.bias"), {"backbone.0.bias", "backbone.1.bias"}),
        (dict(params="re:.*(bias|token)"), {"backbone.0.bias", "backbone.1.bias", "head.bias", "token"}),
        (dict(name=["backbone.1", "head"], params=["weight"]), {"backbone.1.weight", "head.weight"}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_only_what_is_selected_is_loaded(path: Path, keys: dict[str, Any], names: set[str]) -> None:
    model = filled_with(3.0, Net())
    decided = plan(model, load(path, **keys))
    report = initialize(model, load(path, **keys), seed=0)
    assert loaded(model) == names == set(report.loads[0].keys)
    assert {fqn for fqn, entry in decided.items() if entry.rule} == names & {fqn for fqn, _ in Net().named_parameters()}
    assert not report.loads[0].missing and not report.loads[0].unexpected
    with autoinit(load(path, **keys)):
        built = Net()
    assert loaded(built) == names


def test_others_follow_their_rules_and_a_selected_name_may_be_missing(path: Path) -> None:
    content = torch.load(path)
    del content["head.bias"]
    torch.save(content, path)
    cfg = [load(path, name="head"), dict(type="Constant", layer=["Linear", "Conv2d"], val=1, bias=2)]
    model = Net()
    with pytest.warns(AutoInitWarning, match=r"1 loaded; 1 missing \(head.bias\)\.$"):
        report = initialize(model, cfg)
    origins = {"init_cfg[1]": {"backbone.0.weight", "backbone.0.bias", "head.bias"}, "init_cfg[0]": {"head.weight"}}
    for origin, names in origins.items():
        assert {fqn for fqn, entry in report.items() if entry.origin == origin} == names
    assert model.head.bias.tolist() == [2.0, 2.0] and (model.head.weight == 7).all()
    with pytest.raises(CheckpointError, match=r"strict=True and .* does not fit: 1 missing \(head.bias\)"):
        plan(model, load(path, name="head", strict=True))


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (dict(name="backbnoe"), r"init_cfg \(name='backbnoe'\) matches no module of Net. Did you mean 'backbone'\?"),
        (dict(params="wieght"), r"but none of their parameters \(wieght\)\. Did you mean 'weight'\?"),
        (dict(name="head.wieght"), r"matches no module of Net. Did you mean 'head.weight'\?"),
    ],
    ids=str,
)
def test_a_selection_of_nothing_is_an_error(path: Path, keys: dict[str, Any], text: str) -> None:
    model = filled_with(3.0, Net())
    with pytest.raises(MatchError, match=text):
        initialize(model, load(path, **keys))
    initialize(model, load(path, **keys), unmatched="ignore")
    assert not loaded(model)


def test_names_of_the_checkpoint_alone_and_layers_select_nothing(path: Path) -> None:
    torch.save({"extra.weight": torch.ones(2), "head.weight": torch.ones(2, 2)}, path)
    with pytest.raises(MatchError, match=r"\(name='extra'\) matches no module of Net"):
        plan(Net(), load(path, name="extra"))
    with pytest.raises(ConfigTypeError, match="Pretrained has no argument 'layer'"):
        plan(Net(), load(path, layer="Linear"))


def test_the_name_in_an_override_is_its_target(path: Path) -> None:
    torch.save({"weight": torch.full((2, 2), 7.0), "bias": torch.full((2,), 7.0)}, path)
    override = dict(type="Pretrained", checkpoint=str(path), name="head", params="weight")
    model = filled_with(3.0, Net())
    initialize(model, dict(type="Constant", val=1, layer="Conv2d", override=override))
    assert loaded(model) == {"head.weight"}


def test_loading_code_gets_all_and_what_is_not_selected_stays(path: Path) -> None:
    model = filled_with(3.0, nn.Sequential(nn.Linear(1, 1), Renaming()))
    content = filled_with(7.0, nn.Sequential(nn.Linear(1, 1), Renaming())).state_dict()
    torch.save(content, path)
    before = copy.deepcopy(model.state_dict())
    report = initialize(model, load(path, name="1.fc"))
    names = {"1.fc.weight", "1.fc.bias"}
    assert loaded(model) == names == set(report.loads[0].keys) and not report.loads[0].missing
    assert_same(model.state_dict(), {**before, **{name: content[name] for name in names}})
