"""The HTML report as a file: self-contained, complete, and safe for any name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import autoinit, initialize, plan, verify
from autoinit.html import write_html
from autoinit.tracing import diff, trace

RULES = [dict(type="Normal", layer="Linear", std=0.5), dict(type="Constant", name="0", params="weight", val=2)]


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 64))


def data_of(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def by_name(path: Path) -> dict[str, dict[str, Any]]:
    data = data_of(path)
    shared = {"histogram", "calls"}
    rows = [{key: data["repeated"][v] if key in shared else v for key, v in row.items()} for row in data["parameters"]]
    return {row["fqn"]: row for row in rows}


def test_a_report_with_values(tmp_path: Path) -> None:
    built = model()
    report = initialize(built, RULES, seed=0)
    rows = by_name(write_html(tmp_path / "a.html", report, model=built))
    assert list(rows) == list(report)
    weight = rows["2.weight"]
    assert (weight["shape"], weight["outcome"], weight["rule"]) == ("64 x 64", "filled", "init_cfg[0]")
    assert weight["asked"] == [0.0, 0.5]
    assert weight["std"] == pytest.approx(built[2].weight.std().item(), rel=1e-3)
    assert sum(weight["histogram"]["counts"]) == 64 * 64
    assert sum(weight["histogram"]["density"]) == pytest.approx(64 * 64, rel=0.02)
    assert rows["0.weight"]["overrides"] == ["init_cfg[0]: Normal(std=0.5)"]
    assert rows["1.weight"]["uncovered"]


def test_a_plan_without_a_model(tmp_path: Path) -> None:
    with torch.device("meta"):
        built = model()
    rows = by_name(write_html(tmp_path / "a.html", plan(built, RULES), model=built))
    assert rows["2.weight"]["asked"] == [0.0, 0.5]
    asked = rows["2.weight"]["histogram"]
    assert (asked["low"], asked["high"], asked["counts"]) == (-2, 2, [])
    assert max(asked["density"]) == asked["density"][24] == pytest.approx(asked["density"][23])


def test_what_is_alike_is_stored_once(tmp_path: Path) -> None:
    def size(count: int) -> int:
        with torch.device("meta"):
            built = nn.Sequential(*[nn.Linear(2, 2) for _ in range(count)])
        return write_html(tmp_path / "a.html", plan(built, RULES[0])).stat().st_size

    assert (size(1010) - size(10)) / 2000 < 250  # bytes a parameter


def test_a_verdict_beside_a_report(tmp_path: Path) -> None:
    built = model()
    report = initialize(built, RULES, seed=0)
    nn.init.uniform_(built[2].weight)
    rows = by_name(write_html(tmp_path / "a.html", report, model=built, verdict=verify(built, RULES)))
    assert rows["2.weight"]["verdict"] == "failed"
    assert rows["2.weight"]["failures"][0].startswith("mean 0.")
    assert rows["0.weight"]["verdict"] == "ok"


def test_a_trace_alone(tmp_path: Path) -> None:
    with trace() as traced:
        built = model()
        nn.init.normal_(built[2].weight, std=0.02)
    rows = by_name(write_html(tmp_path / "a.html", traced.traces[0], model=built))
    first, second = rows["2.weight"]["calls"]
    assert (first["call"], first["layer"], first["overwritten"]) == ("kaiming_uniform_(a=2.236)", "Linear", True)
    assert (second["call"], second["overwritten"]) == ("normal_(std=0.02)", False)
    assert second["file"] == __file__ and second["source"] == "nn.init.normal_(built[2].weight, std=0.02)"
    assert (rows["2.weight"]["does"], rows["2.weight"]["shape"]) == ("normal_(std=0.02)", "64 x 64")
    assert sum(rows["2.weight"]["histogram"]["counts"]) == 64 * 64


def test_a_trace_beside_a_report(tmp_path: Path) -> None:
    with trace() as traced, autoinit(RULES, seed=0) as run:
        built = model()
    rows = by_name(write_html(tmp_path / "a.html", run.report, model=built, trace=traced.traces[0]))
    assert rows["2.weight"]["outcome"] == "filled"
    assert rows["2.weight"]["calls"][0]["call"] == "kaiming_uniform_(a=2.236)"
    assert rows["2.weight"]["calls"][0]["source"] == "init.kaiming_uniform_(self.weight, a=math.sqrt(5))"


def test_a_difference(tmp_path: Path) -> None:
    built = model()
    rows = by_name(write_html(tmp_path / "a.html", diff(plan(built, RULES[:1]), plan(built, RULES))))
    assert list(rows) == ["0.weight"]
    assert rows["0.weight"]["changes"] == [["fill", "Normal(mean=0, std=0.5)", "Constant(value=2)"]]


def test_nan_and_infinity_are_counted(tmp_path: Path) -> None:
    built = model()
    report = initialize(built, RULES, seed=0)
    with torch.no_grad():
        built[2].weight[0, :3] = float("nan")
        built[0].bias.fill_(float("inf"))
    rows = by_name(write_html(tmp_path / "a.html", report, model=built))
    assert rows["2.weight"]["nonfinite"] == 3
    assert rows["0.bias"]["nonfinite"] == 64 and "std" not in rows["0.bias"]


def test_no_name_is_markup(tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script>&"
    built = nn.Module()
    built.add_module(name, nn.Linear(2, 2))
    path = write_html(tmp_path / "a.html", initialize(built, RULES[0]), model=built)
    assert path.read_text().count("<script") == path.read_text().count("</script") == 2
    assert f"{name}.weight" in by_name(path)


def test_the_file_asks_for_nothing(tmp_path: Path) -> None:
    text = write_html(tmp_path / "a.html", plan(model(), RULES)).read_text()
    rest = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|src=|href=|@import|url\(|fetch\(|XMLHttpRequest", rest)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.html"
    path.write_text("old")
    mode = path.stat().st_mode
    write_html(path, plan(model(), RULES))
    assert path.stat().st_mode == mode
    path.write_text("old")
    monkeypatch.setattr("autoinit.html.page.page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_html(path, plan(model(), RULES))
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
