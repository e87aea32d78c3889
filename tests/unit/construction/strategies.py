"""The statements that programs are drawn from, by kind, and the hypothesis strategies of rules and programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from tests.unit.construction import catalogue as code
from tests.unit.construction import statements as of
from tests.unit.construction.memory import DATA, EITHER, INIT
from tests.unit.construction.programs import Program
from tests.unit.construction.statements import BIASES, LAYERS, WEIGHTS, Load, Make, Read, Statement, Write


def pairs(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every name with every other."""
    return [(one, other) for one in names for other in names if one != other]


def each(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Every name alone."""
    return [(name,) for name in names]


def rows(
    make: Callable[..., Statement], targets: list[tuple[str, ...]], table: Iterable[Any] | Mapping[str, Any]
) -> list[Statement]:
    """A statement for each row of a table and each target."""
    table = table.items() if isinstance(table, Mapping) else table
    listed = [row if isinstance(row, tuple) else (row,) for row in table]
    return [make(row[0], *target, *row[1:]) for row in listed for target in targets]


def write(origin: int, *, derived: bool = False) -> Callable[..., Statement]:
    """A constructor of `Write` for rows of (template, is fixed)."""
    return lambda call, target, fixed=True: Write(call, target, origin, fixed, derived=derived)


def part(origin: int) -> Callable[..., Statement]:
    """A constructor of `Write` for rows of (template, region, is fixed)."""
    return lambda call, target, region, fixed=True: Write(call, target, origin, fixed, region)


ALL = each(WEIGHTS + BIASES)
FIXED = rows(write(INIT), ALL, code.FIXED_FILLS)
RANDOM = rows(lambda call, target: Write(call, target, INIT, False), ALL, code.RANDOM_FILLS)
READS = rows(Read, ALL, code.READS)
LOADS = rows(write(DATA), ALL, code.LOADS)
BUILDS = rows(of.Build, each(LAYERS), code.BUILDS)
CONTAINERS = [
    (kind, count, trainable) for count in (2, 1, 3) for kind in code.CONTAINERS for trainable in (True, False)
]

KINDS: dict[str, list[Statement]] = {
    "fixed fills": FIXED,
    "random fills": RANDOM,
    "fills of matrices": rows(write(INIT), each(WEIGHTS), code.MATRIX_FILLS),
    "reads": READS,
    "copies": rows(of.Copy, pairs(WEIGHTS) + pairs(BIASES), code.COPIES),
    "copies of layers": rows(of.CopyLayer, pairs(LAYERS), code.LAYER_COPIES),
    "writes of a part": rows(part(INIT), ALL, code.PARTS),
    "scales": rows(write(INIT, derived=True), ALL, code.SCALES),
    "factories": rows(Make, ALL, code.FACTORIES),
    "loads": LOADS,
    "loads of a part": rows(part(DATA), ALL, code.PART_LOADS),
    "arithmetic with data, training": rows(write(DATA, derived=True), ALL, code.TAINTED),
    "parameters replaced by data": rows(of.Replace, ALL, code.REPLACEMENTS),
    "layers loaded": rows(Load, each(LAYERS), code.LAYER_LOADS),
    "values of another weight": rows(of.Derive, pairs(WEIGHTS), code.DERIVATIONS),
    "buffers": rows(of.Remember, pairs(WEIGHTS), code.MEMORIES),
    "ties": rows(of.Tie, pairs(WEIGHTS), code.TIES),
    "series": rows(of.Series, each(LAYERS), CONTAINERS),
    "builds": BUILDS,
    "resets": rows(lambda call, layer: Load(call, layer, origin=INIT, fixed=False), each(LAYERS), code.RESETS),
    "draws": [Statement(text) for text in code.OTHERS],
    "exceptions": [of.Caught(statement) for statement in (*RANDOM, *READS, *LOADS, *BUILDS)],
    "threads": [of.InThread(statement) for statement in (*FIXED, *READS)],
    "raw writes": rows(write(EITHER), ALL, code.RAW_WRITES),
}
STATEMENTS = st.one_of(*map(st.sampled_from, KINDS.values()))
# Draws that nothing defers come first: those after the layers would end all deferral.
BEGINNING = (Make("torch.randn({n})", "p", False), Make("torch.zeros({n})", "q", True), *BUILDS[:3])


@st.composite
def some_rules(draw: st.DrawFn) -> tuple[tuple[str, str, float], ...]:
    """Rules for some layers, parameters and series; no two give the same values."""
    names = draw(st.lists(st.sampled_from([*LAYERS, "p", "q", "s*.*"]), unique=True))
    schemes = [draw(st.sampled_from(["Constant", "Normal"])) for _ in names]
    numbers = [3.0 + i if scheme == "Constant" else 0.02 * (i + 1) for i, scheme in enumerate(schemes)]
    return tuple(zip(names, schemes, numbers, strict=True))


@st.composite
def programs(draw: st.DrawFn, *, rules: bool = False) -> Program:
    """Programs of up to twelve statements, after those that make each parameter."""
    statements = draw(st.lists(STATEMENTS, max_size=12))
    return Program(draw(st.sampled_from([8, 96])), (*BEGINNING, *statements), draw(some_rules()) if rules else ())
