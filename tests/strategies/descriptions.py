"""Models that are described and not yet built: printed as one would write them, built as often as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations

from autoinit import paused


class Stage(nn.Module):
    """A module with children and parameters of any names, which no rule for a torch layer is about."""

    def __init__(
        self,
        children: Sequence[tuple[str, nn.Module]],
        params: Sequence[tuple[str, tuple[int, ...]]] = (),
        init_cfg: Any = None,
    ) -> None:
        super().__init__()
        if init_cfg is not None:
            self.init_cfg = init_cfg
        for name, shape in params:
            self.register_parameter(name, nn.Parameter(torch.ones(shape)))
        for name, child in children:
            self.add_module(name, child)


class Unit(Stage):
    """A subclass of `Stage`: a rule for that one is for this one, too."""


class Shown:
    """Printed as one would write it; hypothesis would list the fields."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


@dataclass(frozen=True)
class Layer(Shown):
    """A layer of torch that is yet to be built."""

    kind: type[nn.Module]
    args: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    through: str = ""

    def build(self) -> nn.Module:
        made = self.kind(*self.args, **dict(self.options))
        if self.through:
            getattr(parametrizations, self.through)(made)
        return made

    def __repr__(self) -> str:
        arguments = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.options)]
        text = f"{self.kind.__name__}({', '.join(arguments)})"
        return f"{self.through}({text})" if self.through else text


@dataclass(frozen=True)
class Branch(Shown):
    """A module with children that is yet to be built."""

    kind: type[nn.Module] = Stage
    children: tuple[tuple[str, Tree], ...] = ()
    params: tuple[tuple[str, tuple[int, ...]], ...] = ()
    ties: tuple[tuple[str, str], ...] = ()
    init_cfg: Any = None

    def build(self) -> nn.Module:
        children = [(name, child.build()) for name, child in self.children]
        if issubclass(self.kind, Stage):
            module: nn.Module = self.kind(children, self.params, init_cfg=self.init_cfg)
        elif self.kind is nn.ModuleDict:
            module = nn.ModuleDict(dict(children))
        elif self.kind is nn.ModuleList:
            module = nn.ModuleList(child for _, child in children)
        else:
            module = self.kind(*(child for _, child in children))
        for source, target in self.ties:
            owner, _, name = target.rpartition(".")
            setattr(module.get_submodule(owner), name, found(module, source))
        return module

    def __repr__(self) -> str:
        if self.kind in (nn.Sequential, nn.ModuleList):
            shown = [repr(child) for _, child in self.children]
            shown = [f"[{', '.join(shown)}]"] if self.kind is nn.ModuleList else shown
        elif self.kind is nn.ModuleDict:
            shown = ["{" + ", ".join(f"{name!r}: {child!r}" for name, child in self.children) + "}"]
        else:
            shown = [f"{name}={child!r}" for name, child in self.children]
        shown += [f"{name}=Parameter{shape}" for name, shape in self.params]
        if self.init_cfg is not None:
            shown.append(f"init_cfg={self.init_cfg!r}")
        text = f"{self.kind.__name__}({', '.join(shown)})"
        return text + "".join(f".tie({source!r}, {target!r})" for source, target in self.ties)

    def tie(self, source: str, target: str) -> Branch:
        """The same branch with what has one name in place of what has another, too."""
        return replace(self, ties=(*self.ties, (source, target)))

    def with_children(self, children: Sequence[tuple[str, Tree]]) -> Branch:
        """The same branch with other children: a property can add, drop and reorder what keeps its name."""
        return replace(self, children=tuple(children))


Tree = Layer | Branch


def found(module: nn.Module, fqn: str) -> Any:
    owner, _, name = fqn.rpartition(".")
    return getattr(module.get_submodule(owner), name)


def built_aside(tree: Tree) -> nn.Module:
    """A tree built to be looked at: torch's generator stands where it stood, and an open block takes no notice."""
    with torch.random.fork_rng(devices=[]), paused():
        return tree.build()
