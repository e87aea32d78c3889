"""Statements of construction programs: each is data, says its source code, and what it does to the interpreter's model.

In a template `{w}` is the target (`self.a.weight`), `{s}` a source of the same shape, `{o}` a tensor of that shape made
before the block, `{array}` the same of NumPy, `{n}` the shape, `{i}` the index of the first element, `{l}` and `{m}`
two layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.unit.construction.memory import DATA, EITHER, INIT, NEVER, Memory, Slot, World

LAYERS = ("a", "b", "c")
WEIGHTS = (*(f"{layer}.weight" for layer in LAYERS), "p", "q")
BIASES = tuple(f"{layer}.bias" for layer in LAYERS)


def names_of(target: str, source: str | None = None) -> dict[str, str]:
    """What templates may mention of a target, and of the source."""
    is_bias = target.endswith("bias")
    owner, _, leaf = target.rpartition(".")
    return {
        "w": f"self.{target}",
        "s": f"self.{source}",
        "o": "outside.vector" if is_bias else "outside.matrix",
        "array": "outside.vector_array" if is_bias else "outside.matrix_array",
        "n": "(N,)" if is_bias else "(N, N)",
        "owner": f"self.{owner}" if owner else "self",
        "i": "0" if is_bias else "0, 0",
        "leaf": leaf,
        "w_name": target,
    }


@dataclass(frozen=True)
class Statement:
    """One line or block of a constructor."""

    def code(self, number: int) -> str:
        """Source code; `number` is its place in the program."""
        raise NotImplementedError

    def interpret(self, world: World, number: int) -> None:
        """Do to the interpreter's model what the code does to the real one."""
        raise NotImplementedError


@dataclass(frozen=True)
class Build(Statement):
    """A layer: built, replaced, unwritten."""

    layer: str
    how: str = "self.{l} = nn.Linear(N, N)"

    def code(self, number: int) -> str:
        return self.how.format(l=self.layer)

    def interpret(self, world: World, number: int) -> None:
        world.outside.discard(self.layer)
        is_unwritten = "empty" in self.how or "skip_init" in self.how
        for leaf in ("weight", "bias"):
            world.make(f"{self.layer}.{leaf}", NEVER if is_unwritten else INIT, is_unwritten)


@dataclass(frozen=True)
class Make(Statement):
    """A parameter made by a factory.

    Args:
        target: Name of the parameter.
        factory: Template of the tensor.
        fixed: Whether its values are the same in every run.
    """

    target: str
    factory: str
    fixed: bool

    def code(self, number: int) -> str:
        names = names_of(self.target)
        return f"{names['w']} = nn.Parameter({self.factory.format(**names)})"

    def interpret(self, world: World, number: int) -> None:
        world.make(self.target, NEVER if self.factory == "torch.empty({n})" else INIT, self.fixed)


@dataclass(frozen=True)
class Write(Statement):
    """A write in place.

    Args:
        target: Name of the parameter.
        call: Template of the code.
        origin: Origin of what is written.
        fixed: Whether it is the same in every run.
        region: What is written: a row, a column ..., `...` for all.
        derived: Whether it is computed of what was there.
    """

    target: str
    call: str
    origin: int
    fixed: bool
    region: Any = ...
    derived: bool = False

    def code(self, number: int) -> str:
        return self.call.format(**names_of(self.target))

    def interpret(self, world: World, number: int) -> None:
        world.write(self.target, self.region, self.origin, self.fixed, derived=self.derived)


@dataclass(frozen=True)
class Replace(Statement):
    """A parameter, or its memory, replaced by data.

    Args:
        target: Name of the parameter.
        call: Template of the code.
        outside: Whether the memory existed before the block.
        data: Whether `.data` is replaced, and not the parameter.
    """

    target: str
    call: str
    outside: bool
    data: bool

    def code(self, number: int) -> str:
        return self.call.format(**names_of(self.target))

    def interpret(self, world: World, number: int) -> None:
        numbers = world.values.new(world.shape(self.target), DATA, True)
        memory = Memory(numbers, self.outside)
        if self.data:
            world.slots[self.target].memory = memory
        else:
            world.slots[self.target] = Slot(memory)


@dataclass(frozen=True)
class Load(Statement):
    """A layer whose two parameters are loaded, or reset; `assign` puts new parameters in place."""

    layer: str
    call: str
    assign: bool = False
    outside: bool = False
    origin: int = DATA
    fixed: bool = True

    def code(self, number: int) -> str:
        return self.call.format(l=self.layer)

    def interpret(self, world: World, number: int) -> None:
        if self.call.startswith("self.{l} = "):
            world.outside.add(self.layer)
        for leaf in ("weight", "bias"):
            name = f"{self.layer}.{leaf}"
            if self.assign:
                world.make(name, self.origin, self.fixed, outside=self.outside)
            else:
                world.write(name, ..., self.origin, self.fixed)


@dataclass(frozen=True)
class Read(Statement):
    """A value that the constructor sees; `whole` if it depends on all of the parameter."""

    target: str
    value: str
    whole: bool

    def code(self, number: int) -> str:
        return f"seen.append({self.value.format(**names_of(self.target))})"

    def interpret(self, world: World, number: int) -> None:
        if self.whole:
            world.read(self.target)


@dataclass(frozen=True)
class Other(Statement):
    """Code that touches no parameter: draws, the generator's state, a layer whose constructor fails."""

    text: str

    def code(self, number: int) -> str:
        return self.text

    def interpret(self, world: World, number: int) -> None:
        pass


@dataclass(frozen=True)
class Caught(Statement):
    """A statement, then an exception that is caught."""

    inner: Statement

    def code(self, number: int) -> str:
        lines = ["try:", *indented(self.inner.code(number)), "    raise ValueError", "except ValueError:", "    pass"]
        return "\n".join(lines)

    def interpret(self, world: World, number: int) -> None:
        self.inner.interpret(world, number)


@dataclass(frozen=True)
class InThread(Statement):
    """A write or read by another thread, which is waited for: whether a write of a thread is seen is left open."""

    inner: Statement

    def code(self, number: int) -> str:
        return "\n".join(["def work():", *indented(self.inner.code(number)), "in_thread(work)"])

    def interpret(self, world: World, number: int) -> None:
        if isinstance(self.inner, Write):
            # If it is not seen, for it writes what was there, copies of that go on being copies of this.
            numbers = world.slots[self.inner.target].numbers
            world.values.origin[numbers[world.values.origin[numbers] == INIT]] = EITHER
        self.inner.interpret(world, number)
        if isinstance(self.inner, Write):
            world.values.origin[world.slots[self.inner.target].numbers] = EITHER


def indented(text: str) -> Iterable[str]:
    """Lines of code, one level deeper."""
    return [f"    {line}" for line in text.splitlines()]
