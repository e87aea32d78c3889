"""Random trees of modules with random configs, described once and built with whatever library's classes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

SENTINEL = 9.0
AS_CLASS = "<class>"
"""In a description: the library's own `ConstantInit` as `type`."""

Config = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class SubLinear(nn.Linear):
    pass


class SubSubLinear(SubLinear):
    pass


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2))


LEAVES = {
    "Linear": lambda bias: nn.Linear(2, 2, bias=bias),
    "Conv2d": lambda bias: nn.Conv2d(2, 2, 1, bias=bias),
    "BatchNorm2d": lambda bias: nn.BatchNorm2d(2, affine=bias),
    "LayerNorm": lambda bias: nn.LayerNorm(2, bias=bias),
    "Embedding": lambda bias: nn.Embedding(2, 2),
    "SubLinear": lambda bias: SubLinear(2, 2, bias=bias),
    "SubSubLinear": lambda bias: SubSubLinear(2, 2, bias=bias),
    "Scale": lambda bias: Scale(),
    "ReLU": lambda bias: nn.ReLU(),
}
MATRICES = ("Linear", "Conv2d", "_ConvNd", "Embedding", "SubLinear", "SubSubLinear")
LAYERS = (*MATRICES, "BatchNorm2d", "_BatchNorm", "_NormBase", "LayerNorm", "Scale", "Block", "BaseModule", "Plain")
BLOCKS = ("Block", "Before", "After", "Instead", "OptOut")
CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")


@dataclass(frozen=True)
class Leaf:
    kind: str
    bias: bool


@dataclass(frozen=True)
class Again:
    """The n-th leaf so far, once more."""

    number: int


@dataclass(frozen=True)
class Branch:
    kind: str
    children: tuple[Description, ...]
    init_cfg: Config = None
    done: bool = False
    weight: bool = False
    value: float = 0.0


Description = Leaf | Again | Branch


@dataclass(frozen=True)
class Tree:
    root: Branch
    ties: tuple[tuple[int, int], ...] = ()


def child_names(kind: str, count: int) -> list[str]:
    if kind in ("Sequential", "ModuleList"):
        return [str(index) for index in range(count)]
    return [f"c{index}" for index in range(count)]


def overridable_names(kind: str, count: int) -> list[str]:
    names = child_names(kind, count)
    return [*names, "first"] if names and kind not in CONTAINERS else names


# ---------------------------------------------------------------- configs


def constants(values: Iterator[int]) -> st.SearchStrategy[dict[str, Any]]:
    types = st.sampled_from(("Constant", AS_CLASS))
    return types.map(lambda name: {"type": name, "val": next(values)})


def biases() -> st.SearchStrategy[dict[str, Any]]:
    bias = st.sampled_from((0, 1, -2, 0.25, 7.5)).map(lambda value: {"bias": value})
    prob = st.sampled_from((0.01, 0.5, 0.9)).map(lambda value: {"bias_prob": value})
    both = st.builds(lambda one, other: {**one, **other}, bias, prob)
    return st.one_of(st.just({}), bias, prob, both)


def layers(known: Sequence[str] = LAYERS) -> st.SearchStrategy[Any]:
    name = st.sampled_from(known)
    return st.one_of(name, st.lists(name, min_size=1, max_size=3))


def random_schemes() -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(
        (
            {"type": "Normal", "std": 0.5},
            {"type": "Normal", "mean": 3, "std": 0.1},
            {"type": "Uniform", "a": -1, "b": 1},
            {"type": "TruncNormal", "std": 0.5, "a": -1, "b": 1},
        )
    )


def schemes_by_fan() -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(
        (
            {"type": "Kaiming"},
            {"type": "Kaiming", "a": 1, "mode": "fan_in", "distribution": "uniform"},
            {"type": "Kaiming", "nonlinearity": "leaky_relu", "a": 0.1},
            {"type": "Xavier"},
            {"type": "Xavier", "gain": 2, "distribution": "uniform"},
            {"type": "Caffe2Xavier"},
        )
    )


@st.composite
def overrides(draw: st.DrawFn, names: list[str], schemes: st.SearchStrategy[Any], inherits: bool) -> dict[str, Any]:
    override = {"name": draw(st.sampled_from(names))}
    if inherits and draw(st.booleans()):
        return override
    override |= draw(schemes) | draw(biases())
    if draw(st.integers(0, 5)) == 0:
        override["layer"] = draw(layers())
    return override


@st.composite
def items(draw: st.DrawFn, names: list[str], values: Iterator[int], random: bool) -> dict[str, Any]:
    schemes = constants(values) | random_schemes() if random else constants(values)
    # These need two dimensions: not for whatever a target may have below it.
    by_fan = random and draw(st.booleans())
    item = draw(schemes_by_fan() if by_fan else schemes) | draw(biases())
    if draw(st.integers(0, 4)):
        item["layer"] = draw(layers(MATRICES) if by_fan else layers())
    if names and draw(st.booleans()):
        one = overrides(names, schemes, not by_fan)
        item["override"] = draw(st.one_of(one, st.lists(one, max_size=3)))
    return item


def configs(names: list[str], values: Iterator[int], random: bool = False) -> st.SearchStrategy[Any]:
    item = items(names, values, random)
    return st.one_of(item, st.lists(item, min_size=1, max_size=4))


# ---------------------------------------------------------------- trees


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """What a tree may be made of."""

    branches: tuple[str, ...]
    configured: bool = True
    shared: bool = False
    random: bool = False


@st.composite
def branches(draw: st.DrawFn, kind: str, depth: int, kinds: Kinds, values: Iterator[int]) -> Branch:
    inner = kinds.branches if kind != "Plain" else ("Plain",)  # The original stops at a plain module.
    children = []
    for _ in range(draw(st.integers(0 if depth else 1, 3))):
        choice = draw(st.integers(0, 9))
        if choice < 4 and depth < 3:
            children.append(draw(branches(draw(st.sampled_from(inner)), depth + 1, kinds, values)))
        elif choice == 9 and kinds.shared:
            children.append(Again(draw(st.integers(0, 5))))
        else:
            children.append(draw(st.builds(Leaf, st.sampled_from(sorted(LEAVES)), st.booleans())))
    speaks = kinds.configured and kind not in ("Plain", "Head")
    names = overridable_names(kind, len(children))
    empty = st.sampled_from((None, {}, []))
    init_cfg = draw(st.one_of(empty, configs(names, values, kinds.random))) if speaks else None
    return Branch(
        kind=kind,
        children=tuple(children),
        init_cfg=init_cfg,
        done=speaks and depth > 0 and draw(st.integers(0, 7)) == 0,
        weight=kind not in CONTAINERS and draw(st.booleans()),
        value=next(values),
    )


@st.composite
def trees(draw: st.DrawFn, kinds: Kinds) -> Tree:
    values = itertools.count(100)
    root = draw(st.sampled_from([kind for kind in kinds.branches if kind != "Head" and speaks(kind, kinds)]))
    tree = draw(branches(root, 0, kinds, values))
    leaf = st.integers(0, 5)
    ties = draw(st.lists(st.tuples(leaf, leaf), max_size=2)) if kinds.shared else []
    return Tree(root=tree, ties=tuple(ties))


def speaks(kind: str, kinds: Kinds) -> bool:
    """Whether a module of the kind can be the root."""
    return kind != "Plain" or kinds.branches == ("Plain",)


# ---------------------------------------------------------------- modules


def write_own(module: nn.Module, value: float) -> None:
    for child in module.children():
        if isinstance(getattr(child, "weight", None), nn.Parameter):
            nn.init.constant_(child.weight, value)


class Library:
    """The classes of a description, made of `mmengine.model` or of what takes its place."""

    def __init__(self, names: ModuleType) -> None:
        self.names = names
        self.built: list[nn.Module] = []

        class Block(names.BaseModule):  # type: ignore[name-defined]
            def __init__(self, children: list[nn.Module], init_cfg: Config) -> None:
                super().__init__(init_cfg)
                adopt(self, children)

            @property
            def first(self) -> nn.Module:
                return self.c0

        class Before(Block):
            def init_weights(self) -> None:
                write_own(self, self.value)
                super().init_weights()

        class After(Block):
            def init_weights(self) -> None:
                super().init_weights()
                for child in self.children():
                    names.constant_init(child, self.value, bias=self.value + 0.5)

        class Instead(Block):
            def init_weights(self) -> None:
                write_own(self, self.value)

        class OptOut(Block):
            def init_weights(self) -> None:
                pass

        classes = (Block, Before, After, Instead, OptOut, Head, Plain)
        self.classes: dict[str, type] = {cls.__name__: cls for cls in classes}

    def build(self, tree: Tree) -> nn.Module:
        self.built = []
        root = self.module(tree.root)
        for one, other in tree.ties:
            tie(self.built, one, other)
        with torch.no_grad():
            for param in root.parameters():
                param.fill_(SENTINEL)
        return root

    def module(self, description: Description) -> nn.Module:
        if isinstance(description, Again):
            return self.built[description.number % len(self.built)] if self.built else nn.ReLU()
        if isinstance(description, Leaf):
            self.built.append(LEAVES[description.kind](description.bias))
            return self.built[-1]
        children = [self.module(child) for child in description.children]
        made = self._branch(description, children)
        made.value = description.value
        if description.weight:
            made.weight = nn.Parameter(torch.empty(2))
        if description.done:
            made.is_init = True
        return made

    def _branch(self, description: Branch, children: list[nn.Module]) -> nn.Module:
        cfg = self.localized(description.init_cfg)
        kind = description.kind
        if kind == "Sequential":
            return self.names.Sequential(*children, init_cfg=cfg)
        if kind == "ModuleList":
            return self.names.ModuleList(children, init_cfg=cfg)
        if kind == "ModuleDict":
            return self.names.ModuleDict(dict(zip(child_names(kind, len(children)), children)), init_cfg=cfg)
        if kind in ("Head", "Plain"):
            return self.classes[kind](children)
        return self.classes[kind](children, cfg)

    def localized(self, cfg: Any) -> Any:
        """A config with this library's classes in it."""
        if isinstance(cfg, list):
            return [self.localized(item) for item in cfg]
        if not isinstance(cfg, dict):
            return cfg
        new = {key: self.localized(value) if key == "override" else value for key, value in cfg.items()}
        if new.get("type") == AS_CLASS:
            new["type"] = self.names.ConstantInit
        return new


def adopt(parent: nn.Module, children: list[nn.Module]) -> None:
    for name, child in zip(child_names("", len(children)), children, strict=True):
        parent.add_module(name, child)


class Plain(nn.Module):
    def __init__(self, children: list[nn.Module]) -> None:
        super().__init__()
        adopt(self, children)

    @property
    def first(self) -> nn.Module:
        return self.c0


class Head(Plain):
    """No BaseModule, and with an `init_weights` all the same."""

    def init_weights(self) -> None:
        write_own(self, self.value)


def tie(built: list[nn.Module], one: int, other: int) -> None:
    if built:
        source, target = (built[index % len(built)] for index in (one, other))
        weights = [module._parameters.get("weight") for module in (source, target)]
        if all(weight is not None for weight in weights) and weights[0].shape == weights[1].shape:
            target.weight = source.weight
