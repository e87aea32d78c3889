"""The fuzzer: it finds what it is for, its cases are the same every time, and some of them are run with the tests."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import ApplyError, ConfigError
from autoinit.config import parsing
from tests.fuzzing import application, limits, objects
from tests.fuzzing.__main__ import TARGETS, main
from tests.fuzzing.models import MODELS
from tests.fuzzing.session import Finding, fuzz, outcome, shrunk, table


class Planted:
    """A target with a fault in every case that has a seven."""

    name = "planted"

    def __init__(self, fault: object) -> None:
        self._fault = fault

    def case(self, seed: str) -> list[int]:
        return [random.Random(seed).randrange(10) for _ in range(5)] + [7]

    def run(self, case: list[int]) -> str:
        if 7 in case:
            self._fault()  # type: ignore[operator]
        return "ok"

    def smaller(self, case: list[int]) -> Iterator[list[int]]:
        for index in range(len(case)):
            yield case[:index] + case[index + 1 :]


def wrong_error() -> None:
    raise KeyError("wrong")


def hangs() -> None:
    end = time.process_time() + 30
    while time.process_time() < end:
        pass


def test_another_error_is_found_and_its_case_made_small() -> None:
    found = outcome(Planted(wrong_error), [1, 7, 2])
    assert isinstance(found, Finding)
    assert found.kind.startswith("KeyError in ") and found.kind.endswith(":wrong_error")
    assert shrunk(Planted(wrong_error), [1, 7, 2], found) == [7]


def test_a_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.2)
    found = outcome(Planted(hangs), [7])
    assert isinstance(found, Finding) and found.kind.startswith("hang in ") and "hangs" in found.kind


def test_memory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMORY", 1 << 20)
    size = limits.peak_memory() - limits.resident() + (64 << 20)
    found = outcome(Planted(lambda: bytearray(size)), [7])
    assert isinstance(found, Finding) and found.kind == "memory"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ApplyError("late"), "failed half way, where the plan should have said: late"),
        (ConfigError("x" * (2 << 20)), "an error of 2,097,152 letters"),
    ],
)
def test_errors_that_should_not_be(error: Exception, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(parsing, "_rule", refuse)
    with pytest.raises(limits.BrokenError, match=says):
        application.apply(MODELS["zoo"], lambda: dict(type="Normal", layer="Linear"))


def changes_a_parameter(model: nn.Module) -> None:
    next(model.parameters()).data[0] += 1
    raise ConfigError("late")


def moves_the_generator(model: nn.Module) -> None:
    torch.rand(1)
    raise ConfigError("late")


def leaves_a_hook(model: nn.Module) -> None:
    nn.Module.__init__ = lambda self: None  # put back by the check


@pytest.mark.parametrize(
    ("spoil", "cfg", "says"),
    [
        (changes_a_parameter, [], "plan changed a parameter"),
        (moves_the_generator, [], "plan changed a parameter"),
        (leaves_a_hook, [], "plan left nn.Module.__init__"),
        (str, dict(type="Nonsense"), "plan and initialize disagree: None and ConfigError"),
    ],
)
def test_a_broken_contract(spoil: Any, cfg: object, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "plan", lambda model, *_, **__: spoil(model))
    with pytest.raises(limits.BrokenError, match=says):
        application.apply(MODELS["mixed"], lambda: cfg)


def test_a_session_counts_and_tells_how_to_run_a_case_again() -> None:
    session = fuzz(Planted(wrong_error), seed=3, cases=4)
    assert session.counts == {"FINDING": 4}
    [(number, text)] = session.findings.values()
    assert number == 0 and text.endswith("case: [7]")
    assert "again: python -m tests.fuzzing planted --seed 3 --case 0" in table("planted", session, 3)


@pytest.mark.parametrize("name", TARGETS)
def test_a_seed_decides_the_cases(name: str) -> None:
    target, other = TARGETS[name](), TARGETS[name]()
    seeds = [f"{name}:5:{number}" for number in range(8)]
    assert [repr(target.case(seed)) for seed in seeds] == [repr(other.case(seed)) for seed in seeds]


@pytest.mark.parametrize("name", TARGETS)
def test_some_cases_of_each_target(name: str) -> None:
    session = fuzz(TARGETS[name](), seed=1, cases=60)
    assert not session.findings, table(name, session, 1)
    assert session.cases == 60 and len(session.counts) > 1


def test_one_case_again(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["names", "--case", "3"])
    shown = capsys.readouterr().out
    assert status == 0, shown
    assert shown.startswith("names 3: Case(model=") and shown.count("\n") == 2


def test_objects_are_made_anew_and_get_smaller() -> None:
    tree = [{"type": "Normal", "layer": objects.Made("generator", ["Linear", "Conv2d"])}]
    first, second = objects.real(tree), objects.real(tree)
    assert list(first[0]["layer"]) == list(second[0]["layer"]) == ["Linear", "Conv2d"]
    assert {"type": "Normal"} in [small[0] for small in objects.smaller(tree) if isinstance(small, list) and small]
