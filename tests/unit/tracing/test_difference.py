"""`diff`: what two plans, reports or traces do differently."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import ConfigTypeError, Difference, Plan, diff, initialize, plan, trace


class Net(nn.Module):
    def __init__(self, *, layers: int = 30, width: int = 4, std: float = 1.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.norm.weight, std=std)


def planned(*cfg: dict[str, Any], **options: Any) -> Plan:
    return plan(Net(**options), list(cfg))


def normal(std: float, **keys: Any) -> dict[str, Any]:
    return dict(type="Normal", layer="Linear", std=std, **keys)


def test_fills_that_differ_are_folded() -> None:
    same, found = (diff(planned(normal(0.02)), planned(normal(std))) for std in (0.02, 0.05))
    assert not same and len(same) == 0 and same.fqns == ()
    assert str(same.table()).splitlines()[-1] == "0 of 62 parameters differ"
    assert found and len(found) == 30
    assert [(change.what, change.first, change.second) for change in found][:1] == [
        ("fill", "Normal(mean=0, std=0.02)", "Normal(mean=0, std=0.05)")
    ]
    assert [row[0] for row in found.table().rows] == ["layers.{0..29}.weight"]
    assert len(found.table(full=True).rows) == 30
    assert repr(found) == "Difference(30 of 62 parameters differ)"


@pytest.mark.parametrize(("layers", "side"), [((3, 2), "first"), ((2, 3), "second")])
def test_parameters_of_one_side_only(layers: tuple[int, int], side: str) -> None:
    found = diff(*(planned(normal(0.02), layers=count) for count in layers))
    assert [(change.fqn, change.what) for change in found] == [
        (f"layers.2.{param}", "parameter") for param in ("weight", "bias")
    ]
    assert found.caption == f"2 of 8 parameters differ; 2 only in the {side}"


def test_shapes_and_the_fills_that_follow_from_them() -> None:
    kaiming = dict(type="Kaiming", layer="Linear", mode="fan_in")
    found = diff(planned(kaiming, layers=1), planned(kaiming, layers=1, width=8))
    assert [(change.fqn, change.what) for change in found][:2] == [
        ("layers.0.weight", "shape"),
        ("layers.0.weight", "fill"),
    ]


def test_rules_are_compared_by_what_they_select_and_not_by_their_place() -> None:
    shifted = diff(planned(normal(0.02)), planned(dict(type="Constant", val=1, layer="LayerNorm"), normal(0.02)))
    assert set(shifted.fqns) == {"norm.weight", "norm.bias"}
    other = diff(planned(normal(0.02)), planned(dict(type="Normal", name="layers.*", std=0.02)))
    assert {change.what for change in other} == {"rule"}


def test_reports_differ_in_outcomes() -> None:
    model, covered = Net(layers=1), dict(type="Constant", layer="Linear", val=1)
    reports = [initialize(model, [covered, *more]) for more in ([], [dict(covered, layer="LayerNorm")])]
    assert [(change.fqn, change.what, change.first, change.second) for change in diff(*reports)] == [
        ("norm.weight", "outcome", "kept", "filled"),
        ("norm.weight", "fill", "", "Constant(value=1)"),
        ("norm.bias", "outcome", "kept", "filled"),
        ("norm.bias", "fill", "", "Constant(value=0)"),
    ]


def test_traces_of_two_models() -> None:
    traces = []
    for std in (1.0, 0.5):
        with trace() as traced:
            model = Net(layers=1, std=std)
        traces.append(traced)
    [change] = diff(*traces)
    assert isinstance(model, Net) and (change.fqn, change.what) == ("norm.weight", "calls")
    assert "0.5" in change.second and "0.5" not in change.first
    assert not diff(json.loads(traces[0].to_json()), traces[0])


def test_data_and_what_was_saved_as_json() -> None:
    one, other = (planned(normal(std), layers=1) for std in (0.02, 0.05))
    found = diff(one, other)
    assert json.loads(found.to_json()) == {
        "kind": "Plan",
        "models": ["Net", "Net"],
        "total": 4,
        "parameters": {
            "layers.0.weight": {"fill": {"first": "Normal(mean=0, std=0.02)", "second": "Normal(mean=0, std=0.05)"}}
        },
    }
    assert isinstance(found, Difference) and "<table>" in found._repr_html_()
    saved = json.loads(one.to_json())
    assert diff(saved, other).fqns == found.fqns and not diff(saved, one)


def test_kinds_that_do_not_fit() -> None:
    model = Net(layers=1)
    decided = plan(model, normal(0.02))
    with pytest.raises(ConfigTypeError, match="a Plan and a Report cannot be compared. Give two plans"):
        diff(decided, decided.apply(model))  # type: ignore[arg-type]
    for wrong in (model, None, {}, {"parameters": 1}, torch.zeros(2)):
        with pytest.raises(ConfigTypeError, match="not a plan, report or trace"):
            diff(decided, wrong)  # type: ignore[arg-type]
