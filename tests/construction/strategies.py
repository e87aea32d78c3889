"""Hypothesis strategies: statements, rules and programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from . import catalogue as code
from .memory import DATA, EITHER, INIT
from .programs import Program
from .statements import (
    BIASES,
    LAYERS,
    WEIGHTS,
    Build,
    Caught,
    Copy,
    CopyLayer,
    Derive,
    InThread,
    Load,
    Make,
    Other,
    Read,
    Remember,
    Replace,
    Series,
    Statement,
    Tie,
    Train,
    Write,
)

Of = st.SearchStrategy[Statement]
LAYER, WEIGHT = st.sampled_from(LAYERS), st.sampled_from(WEIGHTS)
TARGET = st.sampled_from(WEIGHTS + BIASES)
PAIR = st.sampled_from([(a, b) for names in (WEIGHTS, BIASES) for a in names for b in names if a != b])
WEIGHT_PAIR = st.sampled_from([(a, b) for a in WEIGHTS for b in WEIGHTS if a != b])
LAYER_PAIR = st.sampled_from([(a, b) for a in LAYERS for b in LAYERS if a != b])


def drawn(make: Callable[..., Statement], targets: st.SearchStrategy[Any], rows: Any) -> Of:
    """Statements of one target (or a pair) and one row of a table."""
    rows = [row if isinstance(row, tuple) else (row,) for row in (rows.items() if isinstance(rows, dict) else rows)]
    return st.builds(
        lambda target, row: make(*(target if isinstance(target, tuple) else (target,)), *row),
        targets,
        st.sampled_from(rows),
    )


def write(origin: int, *, derived: bool = False) -> Callable[..., Statement]:
    """A constructor of `Write` for rows of (template, is fixed)."""
    return lambda target, call, fixed: Write(target, call, origin, fixed, derived=derived)


def part(origin: int) -> Callable[..., Statement]:
    """A constructor of `Write` for rows of (template, region, is fixed)."""
    return lambda target, call, region, fixed=True: Write(target, call, origin, fixed, region)


FIXED, RANDOM = dict.fromkeys(code.FIXED_FILLS, True), dict.fromkeys(code.RANDOM_FILLS, False)
BUILDS = drawn(Build, LAYER, code.BUILDS)
MAKES = drawn(Make, TARGET, code.FACTORIES)
FILLS = drawn(write(INIT), TARGET, FIXED | RANDOM) | drawn(write(INIT), WEIGHT, code.MATRIX_FILLS)
RESETS = drawn(lambda layer, call: Load(layer, call, origin=INIT, fixed=False), LAYER, code.RESETS)
PARTS = drawn(part(INIT), TARGET, code.PARTS) | drawn(part(DATA), TARGET, code.PART_LOADS)
SCALES = drawn(write(INIT, derived=True), TARGET, dict.fromkeys(code.SCALES, True))
LOADS = drawn(write(DATA), TARGET, dict.fromkeys(code.LOADS, True))
TAINTED = drawn(write(DATA, derived=True), TARGET, dict.fromkeys(code.TAINTED, True))
RAW = drawn(write(EITHER), TARGET, dict.fromkeys(code.RAW_WRITES, True))
REPLACED = drawn(Replace, TARGET, code.REPLACEMENTS) | drawn(Load, LAYER, code.LAYER_LOADS)
COPIES = drawn(Copy, PAIR, code.COPIES) | drawn(CopyLayer, LAYER_PAIR, code.LAYER_COPIES)
DERIVED = drawn(Derive, WEIGHT_PAIR, code.DERIVATIONS)
TIES = drawn(Tie, WEIGHT_PAIR, [(False,), (False,), (True,)])
REMEMBERED = drawn(Remember, WEIGHT_PAIR, code.MEMORIES)
SERIES = st.builds(
    Series, LAYER, st.integers(1, 3), st.sampled_from(["ModuleList", "Sequential", "ModuleDict"]), st.booleans()
)
READS = drawn(Read, TARGET, code.READS)
OTHERS = st.builds(Other, st.sampled_from(code.OTHERS))
TRAINED = st.builds(Train, TARGET)
CAUGHT = st.builds(Caught, FILLS | READS | LOADS | BUILDS)
THREADS = st.builds(InThread, drawn(write(INIT), TARGET, FIXED) | READS)

STATEMENTS = st.one_of(
    FILLS, READS, COPIES, PARTS, LOADS, MAKES, SCALES, OTHERS, REPLACED, DERIVED, REMEMBERED,
    TIES, SERIES, BUILDS, RESETS, TAINTED, TRAINED, CAUGHT, THREADS, RAW,
)  # fmt: skip

RULES = st.builds(
    lambda names, schemes: tuple(
        (name, scheme, 3.0 + index if scheme == "Constant" else 0.02 * (index + 1))
        for index, (name, scheme) in enumerate(zip(names, schemes, strict=False))
    ),
    st.lists(st.sampled_from([*LAYERS, "p", "q", "s*.*"]), unique=True, max_size=6),
    st.lists(st.sampled_from(["Constant", "Normal"]), min_size=6, max_size=6),
)


@st.composite
def programs(draw: st.DrawFn, *, rules: bool = False) -> Program:
    """Programs of up to twelve statements, after those that make each parameter."""
    beginning = [Build(layer) for layer in LAYERS]
    beginning += [Make(name, *draw(st.sampled_from(sorted(code.FACTORIES.items())))) for name in ("p", "q")]
    statements = draw(st.lists(STATEMENTS, max_size=12))
    return Program(draw(st.sampled_from([8, 96])), (*beginning, *statements), draw(RULES) if rules else ())
