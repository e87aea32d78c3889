"""Statements of two tensors: copies, ties, values computed of a weight, layers copied side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.unit.construction.memory import DATA, INIT, Buffer, Memory, Slot, World
from tests.unit.construction.statements import Statement, names_of


@dataclass(frozen=True)
class Copy(Statement):
    """A whole copy.

    Args:
        target: Name of the parameter.
        source: Name of what is copied.
        call: Template of the code.
        into: What becomes of the target: "memory" is written, "data" replaced, a new "parameter" made.
    """

    target: str
    source: str
    call: str
    into: str

    def code(self, number: int) -> str:
        return self.call.format(**names_of(self.target, self.source))

    def interpret(self, world: World, number: int) -> None:
        copied = world.slots[self.source].numbers.copy()
        if self.into == "memory" and world.slots[self.target].memory.outside:
            values = world.values
            known = values.seen[copied] | values.fixed[copied]
            data = values.derived(DATA, True, copied.shape, copied, seen=known)
            world.slots[self.target].numbers[...] = data
        elif self.into == "memory":
            world.slots[self.target].numbers[...] = copied
        elif self.into == "data":
            world.slots[self.target].memory = Memory(copied)
        else:
            world.slots[self.target] = Slot(Memory(copied))


@dataclass(frozen=True)
class CopyLayer(Statement):
    """A layer copied as a whole."""

    layer: str
    source: str
    call: str
    deep: bool

    def code(self, number: int) -> str:
        return self.call.format(l=self.layer, m=self.source)

    def interpret(self, world: World, number: int) -> None:
        if self.deep:
            world.outside.discard(self.layer)
            world.outside |= {self.layer} if self.source in world.outside else set()
        for leaf in ("weight", "bias"):
            into = "parameter" if self.deep else "memory"
            Copy(f"{self.layer}.{leaf}", f"{self.source}.{leaf}", "", into).interpret(world, number)
            if "load_state_dict" in self.call and self.source in world.outside:
                # The state of a model from elsewhere is handed over as data, whatever was written into that since.
                numbers, values = world.slots[f"{self.layer}.{leaf}"].numbers, world.values
                known = values.seen[numbers] | values.fixed[numbers]
                numbers[...] = values.derived(DATA, True, numbers.shape, numbers, seen=known)


@dataclass(frozen=True)
class Derive(Statement):
    """A value computed of one or two weights, written into a parameter or made one.

    Args:
        target: Name of the parameter.
        source: Name of a weight of the same shape.
        call: Template of the code.
        region: What is written: a part, `...` for all.
        new: Whether a new parameter is made.
        own: Whether the target's values are read, too.
    """

    target: str
    source: str
    call: str
    region: Any = ...
    new: bool = False
    own: bool = False

    def code(self, number: int) -> str:
        return self.call.format(**names_of(self.target, self.source))

    def interpret(self, world: World, number: int) -> None:
        source = world.slots[self.source].numbers
        if self.new:
            world.slots[self.target] = Slot(Memory(world.values.derived(INIT, True, source.shape, source)))
            return
        memory = world.slots[self.target].memory
        target, origin = memory.numbers, DATA if memory.outside else INIT
        if ".t()" in self.call:
            numbers = world.values.transposed(source)
            target[...] = world.values.derived(DATA, True, target.shape, numbers) if memory.outside else numbers
            return
        if self.region is not Ellipsis:
            world.values.seen[target] = True
        inputs = [source[self.region]]
        if self.own:
            inputs.append(target[self.region])
        target[self.region] = world.values.derived(origin, True, target[self.region].shape, *inputs)


@dataclass(frozen=True)
class Tie(Statement):
    """One parameter under two names, or one memory in two parameters."""

    target: str
    source: str
    data: bool

    def code(self, number: int) -> str:
        data = ".data" if self.data else ""
        return f"self.{self.target}{data} = self.{self.source}{data}"

    def interpret(self, world: World, number: int) -> None:
        if self.data:
            world.slots[self.target].memory = world.slots[self.source].memory
        else:
            world.slots[self.target] = world.slots[self.source]


@dataclass(frozen=True)
class Remember(Statement):
    """A buffer: a copy of a weight, or computed of it."""

    source: str
    other: str
    value: str

    def code(self, number: int) -> str:
        value = self.value.format(w=f"self.{self.source}", v=f"self.{self.other}")
        return f'self.register_buffer("m{number}", {value})'

    def interpret(self, world: World, number: int) -> None:
        numbers = world.slots[self.source].numbers
        if "clone" in self.value or "half" in self.value:
            dtype = "float16" if "half" in self.value else "float32"
            world.buffers[f"m{number}"] = Buffer(numbers.copy(), dtype)
            return
        inputs = [numbers] + [world.slots[self.other].numbers] * ("{v}" in self.value)
        shape = numbers.shape[:1] if "norm" in self.value else () if "{v}" in self.value else numbers.shape
        world.buffers[f"m{number}"] = Buffer(world.values.derived(INIT, True, shape, *inputs))


@dataclass(frozen=True)
class Series(Statement):
    """Copies of a layer side by side in a container."""

    source: str
    count: int
    container: str
    trainable: bool

    def code(self, number: int) -> str:
        frozen = "" if self.trainable else ".requires_grad_(False)"
        layers = f"copy.deepcopy(self.{self.source}){frozen} for _ in range({self.count})"
        if self.container == "ModuleDict":
            layers = f"{{str(i): each for i, each in enumerate([{layers}])}}"
        else:
            layers = f"*[{layers}]" if self.container == "Sequential" else f"[{layers}]"
        return f"self.s{number} = nn.{self.container}({layers})"

    def interpret(self, world: World, number: int) -> None:
        if self.source in world.outside:
            world.outside.add(f"s{number}")
        for index in range(self.count):
            for leaf in ("weight", "bias"):
                numbers = world.slots[f"{self.source}.{leaf}"].numbers.copy()
                world.slots[f"s{number}.{index}.{leaf}"] = Slot(Memory(numbers), self.trainable)
