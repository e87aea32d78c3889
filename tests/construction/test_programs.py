"""Random construction programs, run plainly and in a block."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings

from autoinit import autoinit

from .memory import INIT, NEVER
from .oracle import Oracle, problems, same
from .programs import Program
from .strategies import programs

# 300 programs in CI, fewer with `--hypothesis-profile=fast`, and as many as AUTOINIT_EXAMPLES says.
EXAMPLES = settings(max_examples=settings.default.max_examples * (1 if "AUTOINIT_EXAMPLES" in os.environ else 5))
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True, scope="module")
def unwritten_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)


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


@EXAMPLES
@given(programs())
def test_a_block_without_rules_changes_nothing(program: Program) -> None:
    plain = program.run()
    state, values = torch.get_rng_state(), plain.values()
    with autoinit([]):
        run = program.run()
    assert torch.equal(state, torch.get_rng_state())
    assert differences(values, run.values()) == []
    assert unequal_reads(plain.reads(), run.reads()) == []
    assert all(map(torch.equal, plain.outside.values(), run.outside.values()))


@EXAMPLES
@given(programs())
def test_a_rule_for_another_layer_changes_nothing_that_the_constructor_saw(program: Program) -> None:
    check(program)


@EXAMPLES
@given(programs(rules=True))
def test_rules_fill_initialization_and_nothing_else(program: Program) -> None:
    check(program)


def check(program: Program) -> None:
    """Compare a block with the plain construction and with the interpreter."""
    plain = program.run()
    before, values = type(plain.outside)(program.size).values(), plain.values()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with autoinit(program.cfg, seed=0, unmatched="ignore") as block:
            run = program.run()
    report = next(report for report in block.reports if "after.weight" in report)
    order = [name for name in values if name in (world := program.interpret()).slots]
    oracle = Oracle(world, program.rules, order)
    outcomes = {name: entry.outcome for name, entry in report.items()}
    assert unequal_reads(plain.reads(), run.reads()) == []
    assert problems(oracle, outcomes, values, run.values()) == []
    for one, two, three in zip(before, plain.outside.values(), run.outside.values(), strict=True):
        assert not torch.equal(one, two) or torch.equal(one, three), "a tensor of before the block changed"


def differences(plain: dict[str, torch.Tensor], values: dict[str, torch.Tensor]) -> list[str]:
    """Names of what is not equal."""
    assert list(plain) == list(values)
    return [name for name, value in plain.items() if not same(value, values[name]).all()]


def unequal_reads(plain: list[torch.Tensor], seen: list[torch.Tensor]) -> list[int]:
    """Numbers of the reads whose results are not equal."""
    assert len(plain) == len(seen)
    return [
        number
        for number, (one, other) in enumerate(zip(plain, seen, strict=True))
        if one.dtype != other.dtype or one.shape != other.shape or not same(one, other).all()
    ]
