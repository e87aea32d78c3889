"""Described trees, built with whatever library's classes."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import nn

from tests.models import SubLinear, SubSubLinear, filled_with

from .random_trees import AS_CLASS, Branch, Config, Description, Tree, child_names

SENTINEL = 9.0


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2))


LEAVES: dict[str, Callable[[bool], nn.Module]] = {
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

            first = property(lambda self: self.c0)

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
        return filled_with(SENTINEL, root)

    def module(self, description: Description) -> nn.Module:
        if isinstance(description, int):
            return self.built[description % len(self.built)] if self.built else nn.ReLU()
        if isinstance(description, tuple):
            kind, bias = description
            self.built.append(LEAVES[kind](bias))
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
        cfg, kind = self.localized(description.init_cfg), description.kind
        if kind == "Sequential":
            return self.names.Sequential(*children, init_cfg=cfg)
        if kind == "ModuleList":
            return self.names.ModuleList(children, init_cfg=cfg)
        if kind == "ModuleDict":
            named = zip(child_names(kind, len(children)), children, strict=True)
            return self.names.ModuleDict(dict(named), init_cfg=cfg)
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
            new["type"] = self.names.PretrainedInit if "checkpoint" in new else self.names.ConstantInit
        return new


def adopt(parent: nn.Module, children: list[nn.Module]) -> None:
    for name, child in zip(child_names("", len(children)), children, strict=True):
        parent.add_module(name, child)


class Plain(nn.Module):
    def __init__(self, children: list[nn.Module]) -> None:
        super().__init__()
        adopt(self, children)

    first = property(lambda self: self.c0)


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
