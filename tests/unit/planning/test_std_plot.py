"""The plot of the std of each fill."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

from autoinit import StateError, initialize, plan

RULES = [dict(type="Normal", layer="Linear", std=0.5), dict(type="Kaiming", name="2", mode="fan_in")]


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 4), nn.LayerNorm(4), nn.Linear(4, 4))


def test_a_plot_has_the_std_of_every_random_parameter_by_rule(tmp_path: Path) -> None:
    figure = plan(model(), RULES).plot(tmp_path / "std.svg")
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
    assert initialize(model(), RULES, seed=0).plot().axes
    assert plan(nn.Sequential(), []).plot().axes


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(StateError, match=r'pip install "torch-autoinit\[plot\]"'):
        plan(model(), RULES).plot()
