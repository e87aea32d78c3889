"""Tables and plots of plans and reports: what a reader sees of a large model."""

from __future__ import annotations

import copy
import io
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from autoinit import Plan, Report, StateError, autoinit, initialize, plan

LINEAR = dict(type="Normal", layer="Linear", std=0.02)


class Tower(nn.Module):
    """26 parameters and more: a stack with a tied head, and one parameter that no rule covers."""

    def __init__(self, layers: int = 12) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 4)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(layers))
        self.head = nn.Linear(4, 8, bias=False)
        self.head.weight = self.embed.weight
        self.scale = nn.Parameter(torch.ones(()))


def rows(result: Plan | Report, *, full: bool = False) -> dict[str, dict[str, str]]:
    table = result.table(full=full)
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


@pytest.mark.parametrize(("layers", "full"), [(2, False), (12, True)])
def test_a_small_table_and_a_full_one_are_complete_and_in_model_order(layers: int, full: bool) -> None:
    decided = plan(Tower(layers), LINEAR)
    found = rows(decided, full=full)
    assert list(found)[:2] == ["scale", "embed.weight = head.weight"]
    assert [name.split(" = ")[0] for name in found] == list(decided)
    assert found["layers.1.0.weight"]["fill"] == "Normal(mean=0, std=0.02)"


def test_a_long_table_is_folded_and_begins_with_what_no_rule_covers() -> None:
    found = rows(plan(Tower(), LINEAR))
    assert list(found) == [
        "scale",
        "layers.{0..11}.1.weight",
        "layers.{0..11}.1.bias",
        "embed.weight = head.weight",
        "layers.{0..11}.0.weight",
        "layers.{0..11}.0.bias",
    ]
    assert found["scale"]["fill"] == "(no rule)"
    weight = found["layers.{0..11}.0.weight"]
    assert (weight["shape"], weight["fill"], weight["count"]) == ("4 x 4", "Normal(0, 0.02)", "x12")


def test_a_folded_report_says_what_became_of_each_parameter() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student = nn.ModuleList(nn.Linear(4, 4) for _ in range(12))
            self.teacher = copy.deepcopy(self.student)
            self.loaded = nn.Linear(4, 4)
            self.loaded.load_state_dict(nn.Linear(4, 4).state_dict())
            self.lazy = nn.LazyLinear(4)

    with autoinit(dict(LINEAR, bias=None)) as run:
        model = Pair()
    assert len(model.student) == 12
    found = rows(run.report)
    places = list(found)
    assert found["student.{0..11}.bias"]["outcome"] == "kept"
    assert found["lazy.weight"]["outcome"] == "pending: Normal(std=0.02)"
    assert found["loaded.weight"]["outcome"].startswith("kept: data (load_state_dict")
    assert found["teacher.{0..11}.weight"]["outcome"] == "copy of student.**"
    assert found["teacher.{0..11}.weight"]["overrides"] == "init_cfg"
    assert found["student.{0..11}.weight"]["outcome"] == "Normal(0, 0.02)"
    ranked = ["student.{0..11}.bias", "lazy.weight", "loaded.weight", "student.{0..11}.weight"]
    assert sorted(ranked, key=places.index) == ranked


def test_where_shapes_would_make_many_rows_initializers_stand_for_fills() -> None:
    model = nn.Sequential(*(nn.Linear(size, size + 1) for size in range(1, 41)))
    found = rows(plan(model, dict(type="Kaiming", layer="Linear")))
    assert list(found) == ["{0..39}.weight", "{0..39}.bias"]
    assert found["{0..39}.weight"]["fill"] == "Kaiming()"
    assert found["{0..39}.bias"]["fill"] == "Constant(0)"


def test_a_copy_of_a_parameter_of_another_name_is_named_in_full() -> None:
    with autoinit([LINEAR]) as run:
        model = nn.ModuleDict({"first": nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))})
        model["second"] = nn.Linear(2, 2)
        model["second"].load_state_dict(model["first"][3].state_dict())
    assert rows(run.report)["second.weight"]["outcome"] == "copy of first.3.weight"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [60, 80])
def test_what_is_printed_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "stdout", Terminal())
    lines = str(initialize(Tower(), LINEAR, seed=0)).split("\n")
    assert max(map(len, lines)) <= width
    assert any("embed.weight = head.weight" in line for line in lines)


def test_tied_names_are_folded_and_entries_know_their_former_attribute() -> None:
    model = nn.ModuleDict({"heads": nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(6))})
    for head in model["heads"]:
        head.weight = model["heads"][0].weight
    decided = plan(model, [LINEAR, LINEAR])
    assert list(rows(decided)) == ["heads.0.weight = heads.{1..5}.weight"]
    assert decided["heads.0.weight"].beat == decided["heads.0.weight"].overrides != ()
    assert decided.to_dict()["parameters"]["heads.0.weight"]["overrides"] == ["init_cfg[0]"]


def test_the_repr_of_an_entry_says_what_it_gets_from_which_rule_and_over_which() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    decided = plan(model, [dict(LINEAR, std=1), LINEAR])
    assert repr(decided["0.weight"]) == (
        "Entry(0.weight, 2 x 2: Normal(mean=0, std=0.02), init_cfg[1], overrides init_cfg[0])"
    )
    assert repr(decided["1.weight"]) == "Entry(1.weight, 2: no rule)"
    report = decided.apply(model, seed=0)
    assert repr(report["1.weight"]) == "ReportEntry(1.weight, 2: kept)"
    assert repr(report["0.bias"]) == (
        "ReportEntry(0.bias, 2: filled, Constant(value=0), init_cfg[1], overrides init_cfg[0])"
    )


RULES = [dict(type="Normal", layer="Linear", std=0.5), dict(type="Kaiming", name="2", mode="fan_in")]


def three_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 4), nn.LayerNorm(4), nn.Linear(4, 4))


def test_a_plot_has_the_std_of_every_random_parameter_by_rule(tmp_path: Path) -> None:
    figure = plan(three_layers(), RULES).plot(tmp_path / "std.svg")
    [axes] = figure.axes
    lines = {str(line.get_label()): line for line in axes.lines}
    assert list(lines) == ["init_cfg[0]: Normal(std=0.5)", "init_cfg[1]: Kaiming(mode='fan_in')", "(no rule)"]
    first, second, uncovered = lines.values()
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([0], [0.5])
    assert list(second.get_xdata()) == [4]
    assert list(second.get_ydata()) == pytest.approx([0.5**0.5])
    assert list(uncovered.get_xdata()) == [2, 3]
    text = (tmp_path / "std.svg").read_text()
    assert "0.weight" in text and "4 of 6 parameters covered" in text


def test_a_report_is_plotted_without_a_file() -> None:
    assert initialize(three_layers(), RULES, seed=0).plot().axes
    assert plan(nn.Sequential(), []).plot().axes


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(StateError, match=r'pip install "torch-autoinit\[plot\]"'):
        plan(three_layers(), RULES).plot()
