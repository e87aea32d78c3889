"""Every benchmark runs, at sizes that say nothing about speed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

pytest.importorskip("mmengine")

from benchmarks.__main__ import BENCHES, main
from benchmarks.rows import COLUMNS, Row, tabulate
from benchmarks.stopwatch import medians


@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_yields_finite_positive_figures(name: str) -> None:
    rows = list(BENCHES[name](True))
    assert rows
    assert len({(row.case, row.reference) for row in rows}) == len(rows)
    for row in rows:
        assert row.bench == name
        for figure in (row.ours, row.theirs, row.ratio, row.at_most or 1.0):
            assert math.isfinite(figure)
            assert figure > 0
        assert (row.reached is None) == (row.at_most is None)


def test_every_benchmark_is_listed() -> None:
    files = Path(str(BENCHES["memory"].__code__.co_filename)).parent.glob("*.py")
    assert {file.stem for file in files if "\ndef rows(" in file.read_text()} == set(BENCHES)


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    main(["--quick", "--only", "planning", "--json", str(path)])
    printed = capsys.readouterr().out
    assert "torch" in printed
    assert all(column in printed for column in COLUMNS)
    written = json.loads(path.read_text())
    assert written["quick"] is True
    assert [row["bench"] for row in written["rows"]] == ["planning"] * 2


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "cooking"])
    assert "planning" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("at_most", "for_ours", "reached", "cells"),
    [
        (None, False, None, ("2.000", "", "")),
        (2.0, False, True, ("2.000", "<= 2", "yes")),
        (1.5, False, False, ("2.000", "<= 1.5", "NO")),
        (3.5, True, False, ("2.000", "<= 3.5 s", "NO")),
        (4.0, True, True, ("2.000", "<= 4 s", "yes")),
    ],
)
def test_a_goal_is_for_the_ratio_or_for_our_figure(
    at_most: float | None, for_ours: bool, reached: bool | None, cells: tuple[str, ...]
) -> None:
    row = Row(bench="b", case="c", ours=4.0, reference="them", theirs=2.0, at_most=at_most, goal_for_ours=for_ours)
    assert row.reached is reached
    assert row.cells()[-3:] == cells
    assert "4 s" in str(tabulate([row], "a machine"))


def test_repetitions_take_turns_and_the_collector_comes_back() -> None:
    import gc

    order: list[str] = []
    enabled: set[bool] = set()

    def contender(name: str) -> None:
        order.append(name)
        enabled.add(gc.isenabled())

    measured = medians({name: lambda name=name: contender(name) for name in "ab"}, rounds=2, warm_up=False)
    assert measured.keys() == {"a", "b"}
    assert "".join(order) == "abba"
    assert enabled == {False}
    assert gc.isenabled()
