"""Random trees of modules with random configs in the original's language, described and not built; and checkpoints."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

AS_CLASS = "<class>"
"""In place of a `type`: the class of the library in question, `ConstantInit` or `PretrainedInit`."""

MATRICES = ("Linear", "Conv2d", "_ConvNd", "Embedding", "SubLinear", "SubSubLinear")
LAYERS = (*MATRICES, "BatchNorm2d", "_BatchNorm", "_NormBase", "LayerNorm", "Scale", "Block", "BaseModule", "Plain")


RANDOM = [
    {"type": "Normal", "std": 0.5},
    {"type": "Normal", "mean": 3, "std": 0.1},
    {"type": "Uniform", "a": -1, "b": 1},
    {"type": "TruncNormal", "std": 0.5, "a": -1, "b": 1},
]
BY_FAN = [
    {"type": "Kaiming"},
    {"type": "Kaiming", "a": 1, "mode": "fan_in", "distribution": "uniform"},
    {"type": "Kaiming", "nonlinearity": "leaky_relu", "a": 0.1},
    {"type": "Xavier"},
    {"type": "Xavier", "gain": 2, "distribution": "uniform"},
    {"type": "Caffe2Xavier"},
]


def constants(values: Iterator[int]) -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(("Constant", AS_CLASS)).map(lambda name: {"type": name, "val": next(values)})


def biases() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {}, optional={"bias": st.sampled_from((0, 1, -2, 0.25, 7.5)), "bias_prob": st.sampled_from((0.01, 0.5, 0.9))}
    )


def layers(known: Sequence[str] = LAYERS) -> st.SearchStrategy[Any]:
    name = st.sampled_from(known)
    return st.one_of(name, st.lists(name, min_size=1, max_size=5))


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
def items(
    draw: st.DrawFn, names: list[str], values: Iterator[int], random: bool, known: Sequence[str]
) -> dict[str, Any]:
    schemes = constants(values) | st.sampled_from(RANDOM) if random else constants(values)
    # These need two dimensions: not for whatever a target may have below it.
    by_fan = random and draw(st.booleans())
    item = draw(st.sampled_from(BY_FAN) if by_fan else schemes) | draw(biases())
    if draw(st.integers(0, 4)):
        item["layer"] = draw(layers(MATRICES if by_fan else known))
    if names and draw(st.booleans()):
        one = overrides(names, schemes, not by_fan)
        item["override"] = draw(st.one_of(one, st.lists(one, max_size=3)))
    return item


def configs(
    names: list[str], values: Iterator[int], random: bool = False, known: Sequence[str] = LAYERS
) -> st.SearchStrategy[Any]:
    item = items(names, values, random, known)
    return st.one_of(item, st.lists(item, min_size=1, max_size=4))


class Checkpoints:
    """A folder of files with constants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.values = itertools.count(10_000)

    def write(self, form: str, content: dict[str, torch.Tensor]) -> str:
        path = self.folder / f"{next(self.values)}.pth"
        if form == "part":
            content = {"other": torch.zeros(1)} | {f"part.{key}": tensor for key, tensor in content.items()}
        elif form == "parallel":
            content = {f"module.{key}": tensor for key, tensor in content.items()}
        torch.save({"state_dict": content, "meta": {}} if form == "nested" else content, path)
        return str(path)


@st.composite
def loading(draw: st.DrawFn, files: Checkpoints, module: nn.Module) -> dict[str, Any]:
    """An item that loads a new file, some of which fits the module."""
    state, value = module.state_dict(), next(files.values)
    keys = draw(st.lists(st.sampled_from(sorted(state)), min_size=1, unique=True))
    content = {key: torch.full_like(state[key], value) for key in keys}
    if draw(st.booleans()):
        content |= {"nobody.knows": torch.zeros(2), f"{sorted(state)[0]}_too": torch.zeros(3)}
    misshaped = draw(st.sampled_from([None, *sorted(state.keys() - set(keys))]))
    if misshaped:
        content[misshaped] = torch.zeros(7, 7)
    form = draw(st.sampled_from(("bare", "nested", "parallel", "part")))
    item = {"type": draw(st.sampled_from(("Pretrained", AS_CLASS))), "checkpoint": files.write(form, content)}
    if form == "part":
        item["prefix"] = draw(st.sampled_from(("part", "part.")))
    names = [name for name, _ in module.named_children()]
    if names and draw(st.booleans()):
        item["override"] = draw(overrides(names, constants(files.values), inherits=False))
    return item


Config = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None

LEAVES = (
    *("Linear", "SubLinear", "SubSubLinear", "Conv2d", "BatchNorm2d"),
    *("LayerNorm", "Embedding", "Scale", "ReLU"),
)
BLOCKS = ("Block", "Before", "After", "Instead", "OptOut")
CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")


@dataclass(frozen=True)
class Branch:
    kind: str
    children: tuple[Description, ...]
    init_cfg: Config = None
    done: bool = False
    weight: bool = False
    value: float = 0.0


Description = Branch | tuple[str, bool] | int
"""A branch; a leaf (kind, whether it has a bias); or the number of an earlier leaf, which is here once more."""


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


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """The parts of a tree."""

    branches: tuple[str, ...]
    leaves: tuple[str, ...] = LEAVES
    layers: tuple[str, ...] = LAYERS
    shared: bool = False
    random: bool = False


@st.composite
def branches(draw: st.DrawFn, kind: str, depth: int, kinds: Kinds, values: Iterator[int]) -> Branch:
    inner = kinds.branches if kind != "Plain" else ("Plain",)  # The original stops at a plain module.
    children = []
    for _ in range(draw(st.integers(0 if depth else 1, 3 if depth else 4))):
        choice = draw(st.integers(0, 9))
        if choice < 4 and depth < 3:
            children.append(draw(branches(draw(st.sampled_from(inner)), depth + 1, kinds, values)))
        elif choice > 6 and kinds.shared:
            children.append(draw(st.integers(0, 5)))
        else:
            children.append(draw(st.tuples(st.sampled_from(kinds.leaves), st.booleans())))
    carries = kind not in ("Plain", "Head")
    names = overridable_names(kind, len(children))
    empty = st.sampled_from((None, {}, []))
    init_cfg = draw(st.one_of(empty, configs(names, values, kinds.random, kinds.layers))) if carries else None
    return Branch(
        kind=kind,
        children=tuple(children),
        init_cfg=init_cfg,
        done=carries and depth > 0 and draw(st.integers(0, 7)) == 0,
        weight=kind not in CONTAINERS and draw(st.booleans()),
        value=next(values),
    )


@st.composite
def trees(draw: st.DrawFn, kinds: Kinds) -> Tree:
    values = itertools.count(100)
    # The root is a BaseModule, if there are any.
    roots = [kind for kind in kinds.branches if kind not in ("Plain", "Head")] or ["Plain"]
    tree = draw(branches(draw(st.sampled_from(roots)), 0, kinds, values))
    leaf = st.integers(0, 5)
    ties = draw(st.lists(st.tuples(leaf, leaf), max_size=3)) if kinds.shared else []
    return Tree(root=tree, ties=tuple(ties))


@st.composite
def with_config(draw: st.DrawFn, kinds: Kinds) -> tuple[Tree, Config]:
    """A tree, and a config for its root."""
    tree = draw(trees(kinds))
    names = overridable_names(tree.root.kind, len(tree.root.children))
    return tree, draw(configs(names, itertools.count(1000), kinds.random, kinds.layers))
