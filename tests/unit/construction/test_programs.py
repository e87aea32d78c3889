"""Random construction programs, run plainly and in a block.

An interpreter (`memory`, `statements`) knows each program and says, without running it, which values are
equal, and which are initialization, data or memory that was never written; `oracle` says what the contracts make of it.
`AUTOINIT_EXAMPLES=20000 pytest tests/unit/construction` runs as many programs of each property, and `test_breaks` shows
that a break of what watches a construction is found.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoinit import autoinit
from tests.unit.construction.memory import INIT, NEVER
from tests.unit.construction.oracle import Oracle, problems, same
from tests.unit.construction.programs import Program, Rules
from tests.unit.construction.statements import Statement
from tests.unit.construction.strategies import BEGINNING, KINDS, programs

# 300 programs by default, and as many as AUTOINIT_EXAMPLES says.
EXAMPLES = settings(max_examples=settings.default.max_examples * (1 if "AUTOINIT_EXAMPLES" in os.environ else 5))
RULES: Rules = (("a", "Constant", 3.0), ("b", "Normal", 0.04), ("p", "Constant", 5.0), ("s*.*", "Normal", 0.02))
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True, scope="module")
def unwritten_memory_is_nan() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@EXAMPLES
@given(programs())
def test_the_interpreter_agrees_with_plain_construction(program: Program) -> None:
    world = program.interpret()
    one, two = program.run(seed=3).values(), program.run(seed=4).values()
    assert {name for name in one if not name.startswith(("after", "m"))} == set(world.slots)
    by_numbers: dict[bytes, str] = {}
    for name, slot in world.slots.items():
        first = by_numbers.setdefault(slot.numbers.tobytes(), name)
        assert same(one[name], one[first]).all(), f"{name} and {first} differ"
        fixed, origin = world.values.fixed[slot.numbers], world.values.origin[slot.numbers]
        assert same(one[name], two[name]).numpy()[fixed].all(), f"{name} is not fixed"
        nan = one[name].isnan().numpy()
        assert nan[origin == NEVER].all(), f"{name} was written"
        assert not nan[origin == INIT].any(), f"{name} was not written"
    for name, buffer in world.buffers.items():
        assert same(one[name], two[name]).numpy()[world.values.fixed[buffer.numbers]].all(), f"{name} is not fixed"
        first = by_numbers.get(buffer.numbers.tobytes())
        assert first is None or same(one[name], one[first].to(one[name].dtype)).all(), f"{name} and {first} differ"


def alone(kind: str, rules: Rules = ()) -> list[Program]:
    """A program for each template of a kind, and each size."""
    first: dict[str, Statement] = {}
    for statement in KINDS[kind]:
        first.setdefault(getattr(statement, "inner", statement).template, statement)
    sizes = (96,) if kind in ("exceptions", "threads") else (8, 96)
    return [Program(size, (*BEGINNING, statement), rules) for statement in first.values() for size in sizes]


@pytest.mark.parametrize("kind", KINDS)
def test_each_statement_alone_under_a_rule_that_matches_nothing(kind: str) -> None:
    assert {program.last: found for program in alone(kind) if (found := changes(program))} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_each_statement_alone_under_rules(kind: str) -> None:
    assert {program.last: found for program in alone(kind, RULES) if (found := mistakes(program))} == {}


@EXAMPLES
@given(programs())
def test_a_block_whose_rule_matches_nothing_changes_nothing(program: Program) -> None:
    assert changes(program) == []


@EXAMPLES
@given(programs(rules=True), st.booleans())
def test_rules_fill_initialization_and_nothing_else(program: Program, defer: bool) -> None:
    assert mistakes(program, defer=defer) == []


def changes(program: Program) -> list[str]:
    """Everything that a block changes which watches and defers, and whose rule matches nothing."""
    plain = program.run()
    state, values = torch.get_rng_state(), plain.values()
    outside = program.outside()
    with autoinit(dict(type="Constant", name="no_such_module", val=0.0), unmatched="ignore"):
        run = program.run(outside)
    found = [*differences(values, run.values()), *unequal_reads(plain.reads(), run.reads())]
    if not torch.equal(state, torch.get_rng_state()):
        found.append("the RNG state differs")
    if not all(same(*pair).all() for pair in zip(plain.outside.values(), run.outside.values(), strict=True)):
        found.append("a tensor that was made before the block differs")
    return found


def mistakes(program: Program, *, defer: bool = True) -> list[str]:
    """Everything that a block with the program's rules does and the contracts do not allow."""
    plain = program.run()
    values, world = plain.values(), program.interpret()
    outside = program.outside()
    with autoinit(program.cfg, seed=0, unmatched="ignore", defer=defer) as block:
        run = program.run(outside)
    report = next(report for report in block.reports if "after.weight" in report)
    outcomes = {name: entry.outcome for first, entry in report.items() for name in (first, *entry.aliases)}
    oracle = Oracle(world, program.rules, [name for name in values if name in world.slots], exact=not defer)
    found = unequal_reads(plain.reads(), run.reads()) + problems(oracle, outcomes, values, run.values())
    made = program.outside().values()
    for before, one, other in zip(made, plain.outside.values(), run.outside.values(), strict=True):
        if torch.equal(before, one) and not torch.equal(one, other):
            found.append("a tensor that was made before the block changed")
    return found


def differences(plain: dict[str, Tensor], values: dict[str, Tensor]) -> list[str]:
    """Names of what is not equal."""
    assert list(plain) == list(values)
    return [f"{name} differs" for name, value in plain.items() if not same(value, values[name]).all()]


def unequal_reads(plain: list[Tensor], seen: list[Tensor]) -> list[str]:
    """The reads whose results are not equal."""
    assert len(plain) == len(seen)
    return [
        f"read {number} differs"
        for number, (one, other) in enumerate(zip(plain, seen, strict=True))
        if one.dtype != other.dtype or one.shape != other.shape or not same(one, other).all()
    ]
