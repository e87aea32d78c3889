"""Faults planted in the interceptor, one at a time: the machine finds each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from torch._C import _len_torch_dispatch_stack, _len_torch_function_stack, _pop_torch_function_stack
from torch.utils._python_dispatch import _pop_mode

from autoinit.construction import ConstructionRecord, Content, current_watches
from autoinit.construction.memory import Fill
from autoinit.construction.postponed import Postponed
from autoinit.interception import Run, block, extents, hook, recording, roots
from autoinit.planning import PlanContext
from tests.unit.interception.interceptor_machine import Interceptor

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.filterwarnings("ignore::autoinit.AutoInitWarning"),
]


def nothing(*_: Any, **__: Any) -> None:
    pass


def fills_all_the_same(each: Run, *, failed: bool, ends: bool = True) -> None:
    CLOSE(each, failed=False)


def takes_no_marks(made: Any, original: Any) -> None:
    for each in recording.extents_of(original):
        if made not in each.built and not recording.is_paused(each):
            each.built.add(made)


def may_be_replaced(each: Run, tensor: Any) -> Content | None:
    """What any block has filled."""
    content = CONTENT(each, tensor)
    return each._as_initialization(content) if content is not None and content.reason == "initialized" else content


def knows_no_others(**given: Any) -> PlanContext:
    return PlanContext(**{**given, "built": None})


def initializes_nothing_used(each: Run, *, used: Any = None, ends: bool = False) -> None:
    if used is None:
        INITIALIZE(each, ends=ends)


def forgets_what_was_used(each: Run, *, used: Any = None, ends: bool = False) -> None:
    final = set(each.built.final)
    INITIALIZE(each, used=used, ends=ends)
    each.built.final = final


class NoBlocksAround(Run):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.around = ()


def drops_all(self: Postponed, regions: Any) -> list[Fill]:
    gone = [fill for memory in self._pending.values() for fill in memory.fills.values()]
    self._take(gone)
    return gone


BEGIN, CLOSE, CONTENT, INITIALIZE = extents.Extent.begin, hook.close_extent, Run.content, roots.initialize_roots
FAULTS: dict[str, list[tuple[Any, str, Any]]] = {
    "what was built outside is touched": [(roots, "PlanContext", knows_no_others)],
    "data is overwritten": [(ConstructionRecord, "content", lambda self, tensor: None)],
    "deep copies are not known": [(recording, "record_copy", nothing)],
    "a copy of what was called is new": [(recording, "record_copy", takes_no_marks)],
    "a call initializes nothing": [(hook, "initialize_roots", initializes_nothing_used)],
    "what was called is filled again": [(hook, "initialize_roots", forgets_what_was_used)],
    "the outer block beats the inner": [(Run, "remember", nothing), (Run, "content", may_be_replaced)],
    "an outer block does not hear of what is built inside": [(block, "Run", NoBlocksAround)],
    "a block that failed fills all the same": [(block, "close_extent", fills_all_the_same)],
    "a pause is none": [(extents.Extent, "begin", lambda self: BEGIN(self) if isinstance(self, Run) else None)],
    "what is copied in a pause is recorded": [(recording, "is_paused", lambda each: False)],
    "who looks finds it unfilled": [(Postponed, "run_for", nothing)],
    "what was recorded is forgotten": [(Run, "stop_watching", nothing)],
    "fills are dropped that nothing replaces": [(Postponed, "drop", drops_all)],
    "the hook for calls stays": [(hook, "_remove_idle_call_hook", nothing)],
}


class Cleaned(Interceptor):
    """What a fault leaves behind is no part of the next example, nor of the next test."""

    examples = 0

    def teardown(self) -> None:
        Cleaned.examples += 1
        try:
            super().teardown()
        finally:
            while hook._handles:
                hook._handles.pop().remove()
            extents.open_extents.clear()
            while _len_torch_function_stack():
                _pop_torch_function_stack()
            while _len_torch_dispatch_stack():
                _pop_mode()
            for left in current_watches():
                left.end()


def run_machine(examples: int) -> None:
    enough = settings(
        max_examples=examples, stateful_step_count=30, database=None, derandomize=True, phases=[Phase.generate]
    )
    run_state_machine_as_test(Cleaned, settings=enough)


def test_without_a_fault_nothing_is_found() -> None:
    before = Cleaned.examples
    run_machine(1500)
    assert Cleaned.examples - before >= 1500


@pytest.mark.parametrize("patches", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_found(patches: list[tuple[Any, str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, wrong in patches:
        monkeypatch.setattr(owner, name, wrong)
    with pytest.raises(AssertionError):
        run_machine(4000)
