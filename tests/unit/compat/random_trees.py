"""Random trees of modules with random configs, described and not built."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from .random_configs import LAYERS, configs

Config = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None

LEAVES = (
    *("Linear", "SubLinear", "SubSubLinear", "Conv2d", "BatchNorm2d"),
    *("LayerNorm", "Embedding", "Scale", "ReLU"),
)
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


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """What a tree may be made of."""

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
            children.append(Again(draw(st.integers(0, 5))))
        else:
            children.append(draw(st.builds(Leaf, st.sampled_from(kinds.leaves), st.booleans())))
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
