"""Failures with one cause are one line, and every failure is still there for itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autoinit import VerificationError, initialize, verify
from autoinit.verification import Verdict

FAN_IN = dict(type="Kaiming", layer="Conv2d", mode="fan_in")
FAN_OUT = dict(type="Kaiming", layer="Conv2d", mode="fan_out")


class Net(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(8, 32, 3) for _ in range(layers))
        self.head = nn.Linear(8, 8)


def fan_out(layers: int) -> Verdict:
    net = Net(layers)
    initialize(net, [FAN_OUT, dict(type="Constant", layer="Linear", val=0)], seed=0)
    return verify(net, [FAN_IN, dict(type="Constant", layer="Linear", val=0)])


def test_parameters_that_fail_alike_are_one_cause() -> None:
    verdict = fan_out(9)
    [cause] = verdict.causes
    assert {failure.fqn for failure in cause.failures} == {f"layers.{index}.weight" for index in range(9)}
    assert str(cause).startswith(
        "9 parameters of Conv2d, of which 8 look as if mode were 'fan_out': layers.{0..8}.weight: std off"
    )
    assert "init_cfg[0] asks for Normal(mean=0, std=0.166667)" in str(cause)
    assert len(verdict.failures) >= 9
    assert verdict.caption == (
        "9 of 20 parameters of Net failed (9 as if mode were 'fan_out'); 20 tested, 0 audited only; alpha = 0.001"
    )


def test_the_exception_and_the_table_name_causes_rather_than_parameters() -> None:
    verdict = fan_out(30)
    with pytest.raises(VerificationError, match="30 parameters of Conv2d, of which 29 look as if") as caught:
        verdict.raise_for_failures()
    assert str(caught.value).count("\n") == 1
    assert [row[0] for row in verdict.table(full=True).rows] == list(verdict.parameters)
    lines = verdict.table().text(80).split("\n")
    assert len(lines) <= 20 and max(map(len, lines)) <= 80
    assert lines[3] == "layers.{0..29}." and lines[4].startswith("  weight ") and "FAILED" in lines[4]
    assert "look as if mode were 'fan_out'" in " ".join(str(verdict).split())


def test_a_parameter_without_a_hint_joins_those_with_one_only_if_it_deviates_as_they_do() -> None:
    net = Net(9)
    initialize(net, FAN_OUT, seed=0)
    with torch.no_grad():
        net.layers[4].weight.mul_(1.3)  # type: ignore[union-attr, operator]
    alike, other = verify(net, FAN_IN).causes
    assert [failure.fqn for failure in other.failures] == ["layers.4.weight"]
    assert len(alike.failures) == 8


def test_other_rules_tests_and_mistakes_are_other_causes() -> None:
    net = Net(4)
    cfg = [FAN_IN, dict(type="Normal", layer="Linear", std=0.1, override=dict(type="Constant", name="head", val=1))]
    initialize(net, cfg, seed=0)
    with torch.no_grad():
        net.layers[0].weight.zero_()  # type: ignore[union-attr, operator]
        net.layers[1].weight.mul_(1.5)  # type: ignore[union-attr, operator]
        net.head.bias[0] = 3
    verdict = verify(net, cfg)
    found = {tuple(failure.fqn for failure in cause.failures): str(cause) for cause in verdict.causes}
    assert set(found) == {("layers.0.weight",), ("layers.1.weight",), ("head.bias",)}
    assert "as if it had been set to 0" in found["layers.0.weight",]
    assert found["head.bias",].startswith("head.bias: 1 of 8 values differ")


def test_many_names_are_cut_short() -> None:
    net = nn.ModuleDict({name: nn.Linear(16, 16) for name in "abcdef"})
    cfg = dict(type="Normal", layer="Linear", std=0.3, bias=None)
    initialize(net, dict(cfg, std=0.2), seed=0)
    [cause] = verify(net, cfg).causes
    assert "a.weight, b.weight, c.weight and 3 more: std off by" in str(cause)
    torch.manual_seed(0)
    [cause] = verify(nn.ModuleDict({name: nn.Linear(64, 64) for name in "abc"}), dict(cfg, std=1)).causes
    assert "torch's default for Linear and Conv had stayed" in cause.label
    assert str(cause).count("Also: ") == 1, "the other tests that they fail"


def test_verdicts_of_models_of_many_shapes_fit_a_screen() -> None:
    net = nn.Sequential(*(nn.Linear(size, 16) for size in range(4, 44)))
    cfg = dict(type="Kaiming", layer="Linear", mode="fan_in")
    initialize(net, cfg, seed=0)
    table = verify(net, cfg).table()
    assert [row[:2] for row in table.rows] == [("{0..39}.weight", "Normal"), ("{0..39}.bias", "Constant")]
    assert " .. " in table.rows[0][4]
