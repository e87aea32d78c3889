"""Breaks of what watches a construction, one at a time: programs of one statement, or random ones, find each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.errors import NoSuchExample

from autoinit import _torch
from autoinit.construction import Content, Watch, record
from autoinit.construction.memory import Memory, Region
from autoinit.construction.operators import Call
from autoinit.construction.postponed import Postponed
from autoinit.construction.record import ConstructionRecord
from tests.unit.construction.strategies import KINDS, programs
from tests.unit.construction.test_programs import RULES, alone, changes, mistakes, unwritten_memory_is_nan

pytestmark = [pytest.mark.campaign, pytest.mark.filterwarnings("ignore")]
__all__ = ["unwritten_memory_is_nan"]

_bring_up_to_date, _tensors, computed = Watch._bring_up_to_date, Call._tensors, record.computed


def nothing(*_: Any, **__: Any) -> None:
    pass


def ignores(name: str) -> Callable[[Watch, Call], None]:
    """One operator is no read."""
    return lambda watch, call: None if call.operator.name.startswith(name) else _bring_up_to_date(watch, call)


def without_out(call: Call, places: tuple[tuple[int, str], ...]) -> list[Any]:
    is_seen = places is not call.operator.written or call.operator.name.split(".")[1].endswith("_")
    return _tensors(call, places) if is_seen else []


def forgets_draws(postponed: Postponed, fills: Any) -> None:
    postponed._take(list(fills))


def as_initialization(*_: Any, **__: Any) -> Content:
    return Content("made up")


def without_sources(operator: str, numbers: Any, sources: Any, place: Any, reason: str = "") -> Content:
    return computed(operator, numbers, (), place, reason)


def all_of_it(postponed: Postponed, regions: Any) -> list[Any]:
    fills = [fill for memory in postponed._pending.values() for fill in memory.fills.values()]
    postponed._take(fills)
    return fills


BREAKS: dict[str, list[tuple[Any, str, Any]]] = {
    "a read does not bring fills up to date": [(Watch, "flush", nothing)],
    "item() is no read": [(Watch, "_bring_up_to_date", ignores("aten._local_scalar_dense"))],
    "clone() is no read": [(Watch, "_bring_up_to_date", ignores("aten.clone"))],
    "who gets an address is not noticed": [(Watch, "expose", nothing)],
    "a write by out= is not seen": [(Call, "_tensors", without_out)],
    "a fill of a part counts as one of the whole": [(Region, "covers", Region.meets)],
    "fills of what rules leave alone are dropped": [(Postponed, "drop", all_of_it)],
    "draws overtake postponed ones": [(Postponed, "run_draws", nothing)],
    "draws of what was overwritten are not made": [(Postponed, "_void", forgets_draws)],
    "a seed that was set does not matter": [(Postponed, "_from_where_draws_begin", lambda *_: nullcontext())],
    "memory from outside is initialization": [(record, "outside", as_initialization)],
    "what is computed with data is initialization": [(record, "computed", without_sources)],
    "arrays of other libraries are initialization": [
        (record, "LONGEST_LIST", 1 << 40),
        (ConstructionRecord, "_lift", lambda self, tensor, frame: self._new(tensor, Content("numbers"))),
    ],
    "copies are not known": [(record, "_copied", lambda *_: ())],
    "what gradients have touched is initialization": [(_torch, "current_backward", lambda: -1)],
    "writes by raw pointers are overwritten": [
        (Memory, "check", nothing),
        (Postponed, "_has_effect", staticmethod(lambda memory: not memory.is_gone)),
    ],
    "a thread finds nothing filled": [(Watch, "stop_postponing", nothing), (Watch, "expose", nothing)],
}


ENOUGH = settings(max_examples=1500, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


def first_found() -> str:
    """What the first program of one statement says that notices anything."""
    for kind in KINDS:
        for program in alone(kind):
            if found := changes(program):
                return f"{program.last}: {found}"
        for program in alone(kind, RULES):
            if found := mistakes(program):
                return f"{program.last}: {found}"
    return ""


def random_found() -> str:
    """What the first random program says that notices anything."""
    for drawn, check in ((programs(), changes), (programs(rules=True), mistakes)):
        with suppress(NoSuchExample):
            program = find(drawn, lambda each, check=check: bool(check(each)), settings=ENOUGH, random=Random(0))
            return f"{program}: {check(program)}"
    return ""


@pytest.mark.parametrize("patches", BREAKS.values(), ids=BREAKS)
def test_a_break_is_found(patches: list[tuple[Any, str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, wrong in patches:
        monkeypatch.setattr(owner, name, wrong)
    try:
        found = first_found() or random_found()
    except Exception as error:  # A break may also end in an error of torch's.
        found = str(error)
    assert found


def test_without_a_break_nothing_is_found() -> None:
    assert first_found() == ""
