"""`to_html` of every result."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from autoinit import initialize, plan, propagate, verify

RULES = dict(type="Normal", layer="Linear", std=0.5)


def test_plans_reports_and_verdicts_write_their_page(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    for number, result in enumerate((plan(model, RULES), initialize(model, RULES), verify(model, RULES))):
        written = result.to_html(tmp_path / f"{number}.html")
        assert written == tmp_path / f"{number}.html"
        assert "0.weight" in written.read_text()


def test_what_else_is_known_stands_beside_it(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    report = initialize(model, RULES, seed=0)
    alone = report.to_html(tmp_path / "alone.html").read_text()
    together = report.to_html(tmp_path / "all.html", model=model, verdict=verify(model, report)).read_text()
    assert '"std":' not in alone and '"std":' in together
    assert '"verdict":"ok"' not in alone and '"verdict":"ok"' in together


def test_a_propagation_writes_its_table(tmp_path: Path) -> None:
    model = nn.ModuleDict({"<i>": nn.Linear(2, 2)})
    model.forward = lambda x: model["<i>"](x)  # type: ignore[method-assign]
    text = propagate(model, torch.randn(4, 2)).to_html(tmp_path / "signal.html").read_text()
    assert text.startswith("<!doctype html>") and "&lt;i&gt;" in text and "<i>" not in text
