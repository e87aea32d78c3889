"""Every benchmark runs, at sizes that say nothing about speed."""

from __future__ import annotations

import cProfile
import gc
import importlib
import json
import math
import multiprocessing
import os
import pkgutil
import pstats
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import benchmarks
from autoinit import initialize
from benchmarks import profile, results, stopwatch
from benchmarks.__main__ import BENCHES, main
from benchmarks.contenders import (
    AUTOINIT,
    LIMIT,
    META,
    PLAIN,
    SKIPPING,
    WAYS,
    contenders,
    initialize_with_mmengine,
    left_as_garbage,
)
from benchmarks.processes import alone, competing
from benchmarks.resident import MIB, risen
from benchmarks.rows import COLUMNS, Row, beside, tabulate
from benchmarks.stopwatch import medians, turns
from benchmarks.subjects import SUBJECTS, Subject


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_yields_finite_positive_figures(name: str) -> None:
    rows = list(BENCHES[name](True))
    assert bool(rows) == (name != "cuda" or torch.cuda.is_available())
    assert len({(row.case, row.reference) for row in rows}) == len(rows)
    for row in rows:
        assert row.bench == name
        for figure in (row.ours, row.theirs, row.ratio, row.at_most or 1.0):
            assert math.isfinite(figure)
            assert figure > 0
        assert (row.reached is None) == (row.at_most is None)


def test_every_benchmark_is_listed() -> None:
    modules = [
        importlib.import_module(f"benchmarks.{found.name}") for found in pkgutil.iter_modules(benchmarks.__path__)
    ]
    assert {module.rows for module in modules if hasattr(module, "rows")} == set(BENCHES.values())


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    main(["--quick", "--busy", "--only", "planning", "--json", str(path)])
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("torch", *COLUMNS, "beside a process that takes one core"))
    written = json.loads(path.read_text())
    assert written["quick"] is True
    assert [row["bench"] for row in written["rows"]] == ["planning"] * 2


def test_the_competing_process_is_there_for_the_measurement_alone() -> None:
    before = set(multiprocessing.active_children())
    with competing():
        (process,) = set(multiprocessing.active_children()) - before
        assert process.is_alive()
    assert not process.is_alive()


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
    order: list[tuple[str, bool]] = []
    contenders = {name: lambda name=name: order.append((name, gc.isenabled())) for name in "ab"}
    assert medians(contenders, rounds=2, warm_up=False).keys() == {"a", "b"}
    assert order == [(name, False) for name in "abba"]
    assert gc.isenabled()


def test_who_has_run_longer_than_patience_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    now = 0.0
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: now))

    def contender(name: str, seconds: float) -> str:
        nonlocal now
        order.append(name)
        now += seconds
        return name

    contenders = {"slow": lambda: contender("slow", 3), "fast": lambda: contender("fast", 0.1)}
    results = turns(contenders, rounds=3, patience=2)
    assert order == ["slow", "fast", "fast", "fast"]
    assert results == {"slow": ["slow"], "fast": ["fast"] * 3}


def test_a_call_alone_has_a_process_of_its_own() -> None:
    assert len({os.getpid(), alone(os.getpid), alone(os.getpid)}) == 3
    with pytest.raises(ZeroDivisionError):
        alone(divmod, 1, 0)


def test_the_rise_of_memory_is_that_of_the_highest_point() -> None:
    def build() -> torch.Tensor:
        torch.ones(64 * MIB // 4)
        return torch.ones(16 * MIB // 4)

    torch.ones(200 * MIB // 4)  # A higher point that is over.
    assert 60 * MIB < risen(build) < 90 * MIB


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=lambda subject: subject.name)
def test_a_rival_initializes_what_we_do(subject: Subject) -> None:
    """Else the times would be of different work: values of the same spread, in the same parameters."""
    ours, by_hand, mmengine = (subject.small() for _ in range(3))
    for model in (ours, by_hand, mmengine):
        with torch.no_grad():
            for param in model.parameters():
                param.fill_(7)
    initialize(ours, subject.scheme.cfg)
    subject.scheme.by_hand(by_hand)
    initialize_with_mmengine(mmengine, subject.scheme.cfg)
    filled = {name for name, param in ours.named_parameters() if not bool((param == 7).all())}
    assert filled
    for rival in (by_hand, mmengine):
        for name, param in rival.named_parameters():
            assert bool((param == 7).all()) == (name not in filled), name
            expected = dict(ours.named_parameters())[name]
            # Of 1000 values or more, the spread is within 15 % with more than six standard errors to spare.
            if name in filled and param.numel() >= 1000:
                spread, expected_spread = float(param.detach().std()), float(expected.detach().std())
                assert spread == pytest.approx(expected_spread, rel=0.15, abs=1e-6), name


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=lambda subject: subject.name)
def test_every_way_leads_to_the_same_shapes(subject: Subject) -> None:
    shapes = [param.shape for param in subject.small().parameters()]
    for name in contenders(subject):
        built: Any = WAYS[name](subject, True)()
        tensors = built.parameters() if isinstance(built, nn.Module) else built
        assert [tensor.shape for tensor in tensors] == shapes, name


def test_a_way_that_a_model_does_not_have_is_left_out() -> None:
    assert SKIPPING in contenders(SUBJECTS["GPT-2 medium"])
    assert SKIPPING not in contenders(SUBJECTS["vit_l_16"])
    assert not {PLAIN, META} & set(contenders(SUBJECTS["2^28 values, normal"]))


def test_what_the_way_by_meta_leaves_is_named() -> None:
    left = left_as_garbage(SUBJECTS["vit_b_16"], quick=True)
    assert {"class_token", "encoder.pos_embedding"} < set(left)
    assert sum(name.endswith("in_proj_weight") for name in left) == 2
    assert left_as_garbage(SUBJECTS["resnet50"], quick=True) == []


def times(name: str, size: int | None, threads: int, ours: float) -> list[Row]:
    measured = {AUTOINIT: ours, PLAIN: 2 * ours, LIMIT: ours / 4}
    found = beside("building", f"{name}, {threads} threads", measured)
    return [replace(row, parameters=size, threads=size and threads) for row in found]


def test_a_plot_has_a_line_for_each_way(tmp_path: Path) -> None:
    rows = [*times("large", 900, 2, 8.0), *times("small", 10, 2, 1.0), *times("small", 10, 1, 3.0)]
    rows += times("one tensor", None, 2, 5.0)
    source, target = tmp_path / "bench.json", tmp_path / "images" / "building.svg"
    source.write_text(json.dumps({"machine": "a machine", "rows": [row.to_dict() for row in rows]}))
    assert results.lines(results.on_most_threads(results.of_models(results.read(source)))) == {
        AUTOINIT: [(10, 1.0), (900, 8.0)],
        PLAIN: [(10, 2.0), (900, 16.0)],
        LIMIT: [(10, 0.25), (900, 2.0)],
    }
    results.plot(source, target)
    drawn = target.read_text()
    assert all(text in drawn for text in (AUTOINIT, PLAIN, LIMIT, "small", "large", "a machine"))
    results.plot(source, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == drawn


def test_the_overview_has_a_line_for_each_model_and_a_column_for_each_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*times("small", 10, 1, 3.0), *times("small", 10, 2, 1.0), *times("one tensor", None, 2, 5.0)]
    source = tmp_path / "bench.json"
    source.write_text(json.dumps({"rows": [row.to_dict() for row in rows]}))
    results.overview(source, source)
    shortly, _, short, empty, head, rule, *body = capsys.readouterr().out.splitlines()
    assert short == "| small | 1 s | 2 s | 0.50 |  | 0.50 |  |"
    assert short.count("|") == shortly.count("|") and not empty
    assert head == f"| model | {AUTOINIT} | {PLAIN} | {LIMIT} |"
    assert rule.count("|") == head.count("|")
    assert body == [
        "| small, 1 threads | **3** | 6 (0.50) | 0.75 (4.00) |",
        "| small, 2 threads | **1** | 2 (0.50) | 0.25 (4.00) |",
    ]


def test_two_runs_are_compared_by_their_ratios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(name: str, **found: float) -> Path:
        rows = [dict(bench="b", case=case, reference="r", ratio=ratio) for case, ratio in found.items()]
        (tmp_path / name).write_text(json.dumps({"rows": rows}))
        return tmp_path / name

    results.compare(
        run("one.json", slower=1.0, same=2.0, faster=3.0, gone=1.0), run("other.json", slower=1.5, same=2.2, faster=1.0)
    )
    assert capsys.readouterr().out.splitlines() == [
        "   3.000 ->    1.000  b, faster, r",
        "   1.000 ->    1.500  b, slower, r",
        "1 of 3 ratios within a factor of 1.25; the median moved by a factor of 1.100, the farthest by 3.00.",
        "1 rows are in one of the two only.",
    ]
    results.compare(run("one.json", a=1.0), run("other.json", b=1.0))
    assert capsys.readouterr().out == "The two have no row in common.\n"


def test_a_profile_accounts_for_every_phase(capsys: pytest.CaptureFixture[str]) -> None:
    profile.main(["--quick"])
    printed = capsys.readouterr().out
    assert all(phase in printed for phase in profile.PHASES.values())
    assert LIMIT in printed


def test_the_time_of_a_function_in_c_is_its_callers() -> None:
    tensor = torch.empty(4)
    # A clock that advances only when the tensor is written, so that a busy machine changes nothing.
    with cProfile.Profile(lambda: tensor._version) as profiler:
        nn.init.normal_(tensor)
    spent = dict.fromkeys(profile.PHASES.values(), 0.0)
    for path, seconds in profile.own_times(pstats.Stats(profiler)):
        spent[profile.phase_of(path)] += seconds
    assert {phase for phase, seconds in spent.items() if seconds} == {"fills of constructors that no rule replaces"}
