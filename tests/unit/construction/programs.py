"""Construction programs: drawn by hypothesis, printed as a constructor, run, and interpreted."""

from __future__ import annotations

import copy
import ctypes
import io
import linecache
import math
import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.unit.construction.memory import World
from tests.unit.construction.statements import Statement, indented

Rules = tuple[tuple[str, str, float], ...]  # Names of a layer or parameter, scheme, its number.
CONSTRUCTOR = ["class Net(nn.Module):", "    def __init__(self, N, outside, seen):", "        super().__init__()"]


@dataclass(frozen=True, repr=False)
class Program:
    """A constructor, statement by statement, with weights of `size` rows and columns, and rules for what it builds."""

    size: int
    statements: tuple[Statement, ...]
    rules: Rules = ()

    @property
    def source(self) -> str:
        """The constructor as it is run."""
        lines = list(CONSTRUCTOR)
        for number, statement in enumerate(self.statements):
            lines += indented("\n".join(indented(statement.code(number))))
        return "\n".join([*lines, "        self.after = nn.Linear(N, N)", ""])

    def __repr__(self) -> str:
        return f"\n# N = {self.size}, cfg = {self.cfg}\n{self.source}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # Hypothesis would print how it drew the statements.
        printer.text(repr(self))

    @property
    def cfg(self) -> list[dict[str, Any]]:
        """The rules as a config; the last layer always has one."""
        return [*map(as_dict, self.rules), dict(type="Normal", name="after", std=0.02)]

    @property
    def last(self) -> str:
        """Code of the last statement, and the size."""
        return f"{self.statements[-1].code(len(self.statements))}  # N = {self.size}"

    def interpret(self) -> World:
        world = World(self.size)
        for number, statement in enumerate(self.statements):
            statement.interpret(world, number)
        return world

    def outside(self) -> Outside:
        """What exists before the block."""
        return Outside(self.size, self.source.count("outside."))

    def run(self, outside: Outside | None = None, seed: int = 3) -> Run:
        """Build the model, of what exists `outside` already, or is made now."""
        outside, seen = outside or self.outside(), []
        names = dict(NAMESPACE)
        filename = "<construction program>"
        linecache.cache[filename] = (len(self.source), None, self.source.splitlines(True), filename)
        exec(compile(self.source, filename, "exec"), names)
        torch.manual_seed(seed)
        model = names["Net"](self.size, outside, seen)
        return Run(model, outside, seen)


def as_dict(rule: tuple[str, str, float]) -> dict[str, Any]:
    """A rule as users write it."""
    name, scheme, number = rule
    values = dict(type="Constant", val=number) if scheme == "Constant" else dict(type="Normal", std=number)
    where = dict(params=name) if name in ("p", "q") else dict(name=name, bias=number)
    return values | where


@dataclass
class Run:
    """A model, what existed before, and the results of reads in its constructor."""

    model: nn.Module
    outside: Outside
    seen: list[Any]

    def values(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, tied ones under each of their names."""
        named = [*self.model.named_parameters(remove_duplicate=False), *self.model.named_buffers()]
        return {name: tensor.detach().clone() for name, tensor in named}

    def reads(self) -> list[Tensor]:
        """What the constructor saw, as tensors."""
        return [as_tensor(value) for value in self.seen]


class Outside:
    """What exists before the block; each of so many uses gives another tensor, so that none has two owners."""

    def __init__(self, size: int, uses: int) -> None:
        draw = np.random.default_rng(size)
        self.arrays = [draw.random((size, size), dtype=np.float32) + 7 for _ in range(uses)]
        self.matrices = [torch.tensor(array) for array in self.arrays]
        self.vectors = [torch.tensor(array[0]) for array in self.arrays]
        self.layers = [nn.utils.skip_init(nn.Linear, size, size) for _ in range(uses)]
        for layer, array in zip(self.layers, self.arrays, strict=True):
            layer.weight.data.copy_(torch.tensor(array))
            layer.bias.data.copy_(torch.tensor(array[0]))
        self.generator = torch.Generator().manual_seed(11).get_state()
        self._used = 0

    def _next(self, things: list[Any]) -> Any:
        self._used += 1
        return things[self._used % len(things)]

    matrix = property(lambda self: self._next(self.matrices))
    vector = property(lambda self: self._next(self.vectors))
    matrix_array = property(lambda self: self._next(self.arrays))
    vector_array = property(lambda self: self._next(self.arrays)[0])
    layer = property(lambda self: self._next(self.layers))
    state = property(lambda self: self._next(self.layers).state_dict())

    def values(self) -> list[Tensor]:
        parameters = [parameter.detach() for layer in self.layers for parameter in layer.parameters()]
        return [
            tensor.clone()
            for tensor in (*self.matrices, *self.vectors, *map(torch.from_numpy, self.arrays), *parameters)
        ]


def as_tensor(value: Any) -> Tensor:
    """A result of a read, for a comparison."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, str | bytes):
        return torch.tensor(list(value if isinstance(value, bytes) else value.encode()))
    return torch.tensor(value) if isinstance(value, bool | int) else torch.tensor(value, dtype=torch.float64)


def loaded(value: Any) -> Any:
    """What a file has that `value` was saved to."""
    torch.save(value, file := io.BytesIO())
    file.seek(0)
    return torch.load(file)


def in_thread(work: Callable[[], Any]) -> Any:
    """Call a function in another thread, and wait for it."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    thread.join()
    return result[0]


def train(weight: nn.Parameter) -> None:
    """One step of an optimizer."""
    optimizer = torch.optim.SGD([weight], lr=0.125)
    (weight - 1).square().sum().backward()
    optimizer.step()
    weight.grad = None


def share(layer: nn.Linear, other: nn.Linear) -> None:
    """Give a layer the parameters of another, as LoRA injection does."""
    layer.weight, layer.bias = other.weight, other.bias


class Broken(nn.Module):
    """A layer whose constructor fails."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.fc = nn.Linear(size, size)
        raise RuntimeError


def _double(weight: Tensor) -> None:
    weight.mul_(2.0)


def _sum(weight: Tensor) -> Tensor:
    return weight.sum()


def seen_by_address(weight: Tensor) -> np.ndarray:
    """What who took the address of a weight sees there after the weight was filled."""
    view = (ctypes.c_float * weight.numel()).from_address(weight.data_ptr())
    nn.init.constant_(weight, 0.25)
    return np.array(view)


NAMESPACE = dict(
    torch=torch, nn=nn, np=np, copy=copy, math=math, pickle=pickle, ctypes=ctypes, loaded=loaded, in_thread=in_thread,
    train=train, share=share, Broken=Broken, seen_by_address=seen_by_address,
    scripted_double=torch.jit.script(_double), scripted_sum=torch.jit.script(_sum),
)  # fmt: skip
