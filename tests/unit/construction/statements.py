"""Statements of construction programs: each is data, says its source code, and what it does to the interpreter's model.

In a template `{w}` is the target (`self.a.weight`), `{s}` a source of the same shape, `{o}` a tensor of that shape made
before the block, `{array}` the same of NumPy, `{n}` the shape, `{i}` the index of the first element, `{l}` and `{m}`
two layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.unit.construction.memory import DATA, EITHER, INIT, NEVER, Buffer, Memory, Slot, World

LAYERS = ("a", "b", "c")
WEIGHTS = (*(f"{layer}.weight" for layer in LAYERS), "p", "q")
BIASES = tuple(f"{layer}.bias" for layer in LAYERS)
LEAVES = ("weight", "bias")


@dataclass(frozen=True)
class Statement:
    """One line or block of a constructor; `target` is a parameter or a layer. This one changes none."""

    template: str
    target: str = "p"

    def code(self, number: int) -> str:
        """Source code; `number` is its place in the program."""
        return self.filled_in(self.template)

    def filled_in(self, template: str) -> str:
        is_bias, source = self.target.endswith("bias"), getattr(self, "source", None)
        owner, _, leaf = self.target.rpartition(".")
        shape = "vector" if is_bias else "matrix"
        return template.format(
            w=f"self.{self.target}",
            s=f"self.{source}",
            o=f"outside.{shape}",
            array=f"outside.{shape}_array",
            n="(N,)" if is_bias else "(N, N)",
            owner=f"self.{owner}" if owner else "self",
            i="0" if is_bias else "0, 0",
            leaf=leaf,
            w_name=self.target,
            l=self.target,
            m=source,
        )

    def interpret(self, world: World, number: int) -> None:
        """Do to the interpreter's model what the code does to the real one."""


@dataclass(frozen=True)
class Build(Statement):
    """A layer: built, replaced, unwritten."""

    def interpret(self, world: World, number: int) -> None:
        world.outside.discard(self.target)
        is_unwritten = "empty" in self.template or "skip_init" in self.template
        for leaf in LEAVES:
            world.make(f"{self.target}.{leaf}", NEVER if is_unwritten else INIT, is_unwritten)


@dataclass(frozen=True)
class Make(Statement):
    """A parameter made of a tensor; `fixed` if its values are the same in every run."""

    fixed: bool = False

    def code(self, number: int) -> str:
        return self.filled_in(f"{{w}} = nn.Parameter({self.template})")

    def interpret(self, world: World, number: int) -> None:
        world.make(self.target, NEVER if self.template == "torch.empty({n})" else INIT, self.fixed)


@dataclass(frozen=True)
class Write(Statement):
    """A write in place, of a `region` (`...` for all); `derived` if it is computed of what was there."""

    origin: int = INIT
    fixed: bool = True
    region: Any = ...
    derived: bool = False

    def interpret(self, world: World, number: int) -> None:
        world.write(self.target, self.region, self.origin, self.fixed, derived=self.derived)


@dataclass(frozen=True)
class Replace(Statement):
    """A parameter, or its `.data`, replaced by data; `outside` if that memory existed before the block."""

    outside: bool = False
    data: bool = False

    def interpret(self, world: World, number: int) -> None:
        memory = Memory(world.values.new(world.shape(self.target), DATA, True), self.outside)
        if not self.data:
            world.slots[self.target] = Slot(memory)
        world.slots[self.target].memory = memory


@dataclass(frozen=True)
class Load(Statement):
    """A layer whose two parameters are loaded, or reset; `assign` puts new parameters in place."""

    assign: bool = False
    outside: bool = False
    origin: int = DATA
    fixed: bool = True

    def interpret(self, world: World, number: int) -> None:
        if self.template.startswith("self.{l} = "):
            world.outside.add(self.target)
        for name in (f"{self.target}.{leaf}" for leaf in LEAVES):
            if self.assign:
                world.make(name, self.origin, self.fixed, outside=self.outside)
            else:
                world.write(name, ..., self.origin, self.fixed)


@dataclass(frozen=True)
class Read(Statement):
    """A value that the constructor sees; `whole` if it depends on all of the parameter."""

    whole: bool = False

    def code(self, number: int) -> str:
        return self.filled_in(f"seen.append({self.template})")

    def interpret(self, world: World, number: int) -> None:
        if self.whole:
            world.values.seen[world.slots[self.target].numbers] = True


@dataclass(frozen=True)
class Caught:
    """A statement, then an exception that is caught."""

    inner: Statement

    def code(self, number: int) -> str:
        inner = indented(self.inner.code(number))
        return "\n".join(["try:", *inner, "    raise ValueError", "except ValueError:", "    pass"])

    def interpret(self, world: World, number: int) -> None:
        self.inner.interpret(world, number)


@dataclass(frozen=True)
class InThread:
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


# Of two parameters or layers


@dataclass(frozen=True)
class OfTwo(Statement):
    """A statement that reads a `source` of the same shape."""

    source: str = ""


@dataclass(frozen=True)
class Copy(OfTwo):
    """A whole copy `into` the "memory" of the target, as its new "data", or as a new "parameter"."""

    into: str = "memory"

    def interpret(self, world: World, number: int) -> None:
        copied = world.slots[self.source].numbers.copy()
        slot = world.slots[self.target]
        if self.into == "data":
            slot.memory = Memory(copied)
        elif self.into == "parameter":
            world.slots[self.target] = Slot(Memory(copied))
        else:
            slot.numbers[...] = world.values.as_data(copied) if slot.memory.outside else copied


@dataclass(frozen=True)
class CopyLayer(OfTwo):
    """A layer copied as a whole."""

    deep: bool = False

    def interpret(self, world: World, number: int) -> None:
        if self.deep:
            world.outside.discard(self.target)
            world.outside |= {self.target} if self.source in world.outside else set()
        for leaf in LEAVES:
            into, name = "parameter" if self.deep else "memory", f"{self.target}.{leaf}"
            Copy("", name, f"{self.source}.{leaf}", into).interpret(world, number)
            if "load_state_dict" in self.template and self.source in world.outside:
                # The state of a model from elsewhere is handed over as data, whatever was written into that since.
                world.slots[name].numbers[...] = world.values.as_data(world.slots[name].numbers)


@dataclass(frozen=True)
class Derive(OfTwo):
    """A value computed of one or two weights, written to a `region` (`...` for all), or made a `new` parameter.

    `own` if the target's values are read, too.
    """

    region: Any = ...
    new: bool = False
    own: bool = False

    def interpret(self, world: World, number: int) -> None:
        source, values = world.slots[self.source].numbers, world.values
        if self.new:
            world.slots[self.target] = Slot(Memory(values.derived(INIT, True, source.shape, source)))
            return
        memory = world.slots[self.target].memory
        target, origin = memory.numbers, DATA if memory.outside else INIT
        if ".t()" in self.template:
            numbers = values.transposed(source)
            target[...] = values.derived(DATA, True, target.shape, numbers) if memory.outside else numbers
            return
        if self.region is not Ellipsis:
            values.seen[target] = True
        inputs = [source[self.region], *([target[self.region]] if self.own else [])]
        target[self.region] = values.derived(origin, True, target[self.region].shape, *inputs)


@dataclass(frozen=True)
class Tie(OfTwo):
    """One parameter under two names, or one memory in two parameters."""

    def interpret(self, world: World, number: int) -> None:
        if ".data" in self.template:
            world.slots[self.target].memory = world.slots[self.source].memory
        else:
            world.slots[self.target] = world.slots[self.source]


@dataclass(frozen=True)
class Remember(OfTwo):
    """A buffer: a copy of a weight, or computed of it, and perhaps of another one."""

    def code(self, number: int) -> str:
        return self.filled_in(f'self.register_buffer("m{number}", {self.template})')

    def interpret(self, world: World, number: int) -> None:
        numbers = world.slots[self.target].numbers
        if "clone" in self.template or "half" in self.template:
            world.buffers[f"m{number}"] = Buffer(numbers.copy(), "float16" if "half" in self.template else "float32")
            return
        inputs = [numbers] + [world.slots[self.source].numbers] * ("{s}" in self.template)
        shape = numbers.shape[:1] if "norm" in self.template else () if "{s}" in self.template else numbers.shape
        world.buffers[f"m{number}"] = Buffer(world.values.derived(INIT, True, shape, *inputs))


@dataclass(frozen=True)
class Series(Statement):
    """Copies of a layer side by side in a container, whose kind is the template."""

    count: int = 2
    trainable: bool = True

    def code(self, number: int) -> str:
        frozen = "" if self.trainable else ".requires_grad_(False)"
        layers = f"copy.deepcopy(self.{self.target}){frozen} for _ in range({self.count})"
        if self.template == "ModuleDict":
            layers = f"{{str(i): each for i, each in enumerate([{layers}])}}"
        else:
            layers = f"*[{layers}]" if self.template == "Sequential" else f"[{layers}]"
        return f"self.s{number} = nn.{self.template}({layers})"

    def interpret(self, world: World, number: int) -> None:
        if self.target in world.outside:
            world.outside.add(f"s{number}")
        for index in range(self.count):
            for leaf in LEAVES:
                numbers = world.slots[f"{self.target}.{leaf}"].numbers.copy()
                world.slots[f"s{number}.{index}.{leaf}"] = Slot(Memory(numbers), self.trainable)
