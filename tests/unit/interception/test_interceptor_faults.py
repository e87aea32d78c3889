"""Faults planted in the interceptor, one at a time: the machine finds each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from torch._C import _len_torch_dispatch_stack, _len_torch_function_stack, _pop_torch_function_stack
from torch.utils._python_dispatch import _pop_mode

from autoinit.construction import ConstructionRecord, Content, current_watches
from autoinit.construction.postponed import Postponed
from autoinit.construction.postponed_fill import Fill
from autoinit.interception import batch, block, built, context, copying, deferring, first_uses, run
from autoinit.planning import PlanContext
from tests.unit.interception.interceptor_machine import Interceptor

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.filterwarnings("ignore::autoinit.AutoInitWarning"),
]


def nothing(*_: Any, **__: Any) -> None:
    pass


def fills_all_the_same(each: run.Run, *, failed: bool, ends: bool = True) -> None:
    each.initialize(ends=True)
    each.deferral.end()


def notices_for_itself_alone(self: run.Run, module: Any) -> None:
    self.built.add(module)


def adds_a_copy_as_if_it_were_new(self: built.BuiltModules, copy: Any, original: Any) -> None:
    self.add(copy)


def may_be_replaced(self: run.Run, tensor: Any) -> Content | None:
    """What any block has filled."""
    content = CONTENT(self, tensor)
    return self._as_initialization(content) if content is not None and content.reason == "initialized" else content


def knows_no_others(each: run.Run, taken: set[int]) -> PlanContext:
    return replace(SURROUNDINGS(each, taken), built=None)


def initializes_nothing_used(self: run.Run, *, used: Any = None, ends: bool = False) -> None:
    if used is None:
        INITIALIZE(self, ends=ends)


def forgets_what_was_used(self: run.Run, *, used: Any = None, ends: bool = False) -> None:
    final = set(self.built.final)
    INITIALIZE(self, used=used, ends=ends)
    self.built.final = final


def drops_all(self: Postponed, regions: Any) -> list[Fill]:
    gone = [fill for held in self._held.values() for fill in held.fills]
    self._take(gone)
    return gone


SURROUNDINGS, CONTENT, INITIALIZE = batch.surroundings_of, run.Run.content, run.Run.initialize
FAULTS: dict[str, list[tuple[Any, str, Any]]] = {
    "what was built outside is touched": [(batch, "surroundings_of", knows_no_others)],
    "data is overwritten": [(ConstructionRecord, "content", lambda self, tensor: None)],
    "deep copies are not known": [(copying, "note_copy", nothing)],
    "a copy of what was called is new": [(built.BuiltModules, "add_copy", adds_a_copy_as_if_it_were_new)],
    "a call settles nothing": [(run.Run, "initialize", initializes_nothing_used)],
    "what was called is filled again": [(run.Run, "initialize", forgets_what_was_used)],
    "the outer block beats the inner": [(run.Run, "remember", nothing), (run.Run, "content", may_be_replaced)],
    "an outer block does not hear of what is built inside": [(run.Run, "notice", notices_for_itself_alone)],
    "a block that failed fills all the same": [(block.Block, "_finish", staticmethod(fills_all_the_same))],
    "a pause is none": [(context.Pause, "is_here", lambda self: False)],
    "what is copied in a pause is noticed": [(copying, "is_paused_within", lambda extent: False)],
    "who looks finds it unfilled": [(Postponed, "run_for", nothing)],
    "what was recorded is forgotten": [(deferring.Deferral, "end", nothing)],
    "fills are dropped that nothing replaces": [(Postponed, "drop", drops_all)],
    "the hook for calls stays": [(first_uses, "unhook_if_idle", nothing)],
}


class Cleaned(Interceptor):
    """What a fault leaves behind is no part of the next example, nor of the next test."""

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            while first_uses._handles:
                first_uses._handles.pop().remove()
            run.open_runs.clear()
            while _len_torch_function_stack():
                _pop_torch_function_stack()
            while _len_torch_dispatch_stack():
                _pop_mode()
            for left in current_watches():
                left.end()


def run_machine() -> None:
    enough = settings(
        max_examples=1500, stateful_step_count=30, database=None, derandomize=True, phases=[Phase.generate]
    )
    run_state_machine_as_test(Cleaned, settings=enough)


def test_without_a_fault_nothing_is_found() -> None:
    run_machine()


@pytest.mark.parametrize("patches", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_found(patches: list[tuple[Any, str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, wrong in patches:
        monkeypatch.setattr(owner, name, wrong)
    with pytest.raises(AssertionError):
        run_machine()
