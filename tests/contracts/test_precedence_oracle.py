"""Precedence (P1-P5) on random plain modules, against a reading of the contracts that shares no code with planning.

The oracle writes, in order of rising precedence, into a dict: whatever is written last stands.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import autoinit
from tests.models import SubSubLinear, filled_with, without_our_warnings

SENTINEL = 9.0


class Node(nn.Module):
    """May carry an `init_cfg`, and parameters of its own."""

    def __init__(self, children: list[nn.Module], own: list[str]) -> None:
        super().__init__()
        for index, child in enumerate(children):
            self.add_module(f"c{index}", child)
        for name in own:
            self.register_parameter(name, nn.Parameter(torch.empty(2)))


class OwnInit(Node):
    value = 0.0

    def init_weights(self) -> None:
        for child in self.children():
            for param in child._parameters.values():
                if param is not None:
                    param.data.fill_(self.value)


LEAVES = [
    *(lambda: nn.Linear(2, 2), lambda: SubSubLinear(2, 2, bias=False), lambda: nn.Conv2d(2, 2, 1)),
    *(lambda: nn.BatchNorm1d(2), lambda: nn.MultiheadAttention(2, 1), lambda: nn.ReLU()),
]
LAYERS = [
    *("Linear", "SubLinear", "torch.nn.Linear", "_ConvNd", "_NormBase", "MultiheadAttention", "Node"),
    *(nn.Linear, nn.Conv2d, nn.modules.batchnorm._BatchNorm, Node, nn.Module),
]
PARAMS = [
    *("weight", "bias", "*", "w*", "*_embed", ["weight", "pos_embed"], ["*_weight", "in_proj_*"], "re:.*s"),
    *("**.weight", "c0.*", "c[01].**.bias", "re:c0.*t", r"re:(?!c0).*\.bias", ["pos_embed", "*.c?.weight"]),
]
WITHIN = ["Node", "Linear", "_NormBase", Node, nn.MultiheadAttention, ["SubLinear", "OwnInit"]]
NDIMS: dict[Any, set[int]] = {">1": {2, 4}, 1: {1}, "!=1": {2, 4}, "<=2": {1, 2}, "== 4": {4}, "<2": {1}, "2": {2}}


# ---------------------------------------------------------------- the oracle


def paths(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    yield name, module
    for child_name, child in module._modules.items():
        yield from paths(child, f"{name}.{child_name}" if name else child_name)


def chains(
    module: nn.Module, name: str = "", above: tuple[nn.Module, ...] = ()
) -> Iterator[tuple[str, nn.Module, tuple[nn.Module, ...]]]:
    """The paths, each with the modules on it."""
    yield name, module, (*above, module)
    for child_name, child in module._modules.items():
        yield from chains(child, f"{name}.{child_name}" if name else child_name, (*above, module))


def is_loaded(item: dict[str, Any], key: str) -> bool:
    parts = key.split(".")
    prefixes = [".".join(parts[:end]) for end in range(len(parts) + 1)]
    if not any(matches(item.get("name", "**"), prefix) for prefix in prefixes):
        return False
    patterns = as_list(item.get("params", "*"))
    return any(matches(each, key if "." in each or each.startswith("re:") else parts[-1]) for each in patterns)


def matches(patterns: Any, name: str) -> bool:
    return any(
        re.fullmatch(pattern[3:], name) is not None
        if pattern.startswith("re:")
        else components_match(pattern.split("."), name.split(".") if name else [])
        for pattern in as_list(patterns)
    )


def components_match(pattern: list[str], name: list[str]) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "**":
        return any(components_match(pattern[1:], name[skipped:]) for skipped in range(len(name) + 1))
    return bool(name) and fnmatch.fnmatchcase(name[0], pattern[0]) and components_match(pattern[1:], name[1:])


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def is_a(module: nn.Module, layer: Any) -> bool:
    if isinstance(layer, type):
        return isinstance(module, layer)
    ancestors = [cls for cls in type(module).__mro__ if cls not in (nn.Module, object)]
    return any(layer in (cls.__name__, f"torch.nn.{cls.__name__}") for cls in ancestors)


class Oracle:
    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.values: dict[int, float] = {id(param): SENTINEL for param in root.parameters()}

    def write(self, item: dict[str, Any], module: nn.Module, path: str, value: float, named: Any = None) -> None:
        """`named`: patterns over full names, of which one has to match as well."""

        def reaches(name: str) -> bool:
            full = f"{path}.{name}" if path else name
            if named is not None and not matches(named, full):
                return False
            if named is not None and "params" not in item:
                return True
            patterns = as_list(item.get("params", ["weight", "bias"]))
            return any(matches(each, full if "." in each or each.startswith("re:") else name) for each in patterns)

        for name, param in module._parameters.items():
            if param is None or not reaches(name):
                continue
            if "ndim" in item and not any(param.dim() in NDIMS[each] for each in as_list(item["ndim"])):
                continue
            if name != "bias" or not reaches("weight"):
                self.values[id(param)] = value
            elif item.get("bias", 0) is not None:
                self.values[id(param)] = item.get("bias", 0)

    def rule(self, item: dict[str, Any], carrier: nn.Module) -> None:
        if item["type"] == "Pretrained":
            state = torch.load(item["checkpoint"])
            own = carrier.state_dict(keep_vars=True)
            for key in own.keys() & state.keys():
                if is_loaded(item, key):
                    self.values[id(own[key])] = state[key].flatten()[0].item()
        elif item.keys() & {"layer", "name", "params", "within", "ndim"}:
            names = as_list(item.get("name", "**"))
            of_modules = [each for each in names if any(matches(each, name) for name, _ in paths(carrier))]
            for name, module, around in chains(carrier):
                layers, within = as_list(item.get("layer", nn.Module)), as_list(item.get("within", nn.Module))
                if not any(is_a(module, layer) for layer in layers):
                    continue
                if not any(is_a(each, layer) for each in around for layer in within):
                    continue
                self.write(item, module, name, item["val"], [each for each in names if each not in of_modules])
                if matches(of_modules, name):
                    self.write(item, module, name, item["val"])
        for override in as_list(item.get("override", [])):
            meant = override if "type" in override else item
            heads = [head for name, head in paths(carrier) if name and matches(override["name"], name)]
            targets = {id(module) for head in heads for _, module in paths(head)}
            for name, module, around in chains(carrier):
                within = as_list(override.get("within", nn.Module))
                if id(module) in targets and any(is_a(each, layer) for each in around for layer in within):
                    self.write(meant, module, name, meant["val"])

    def run(self, passed: Iterable[list[dict[str, Any]]], *, in_block: bool, runs_own: bool = True) -> dict[int, float]:
        configs: list[tuple[int, nn.Module, list[dict[str, Any]]]] = []  # Outermost first.
        own: list[OwnInit] = []
        configs += [(depth, self.root, cfg) for depth, cfg in enumerate(passed)]

        def visit(module: nn.Module, depth: int, asked: bool) -> None:
            if isinstance(module, OwnInit) and runs_own:
                own.extend([module] if asked and module not in own else [])
                return
            cfg = as_list(getattr(module, "init_cfg", []))
            configs.append((depth, module, cfg))
            for child in module._modules.values():
                visit(child, depth + 1, asked or any(item["type"] != "Pretrained" for item in cfg))

        # A block without rules is the identity (I6), but for modules that have rules of their own.
        visit(self.root, len(configs), not in_block or any(passed))
        for _, module, cfg in configs:  # P1, P2
            for item in cfg:
                if item["type"] != "Pretrained":
                    self.rule(item, module)
        for module in own:  # P3
            for child in module.children():
                self.values |= {id(p): module.value for p in child._parameters.values() if p is not None}
        for _, module, cfg in sorted(configs, key=lambda entry: -entry[0]):  # P4
            for item in cfg:
                if item["type"] == "Pretrained":
                    self.rule(item, module)
        return self.values


# ---------------------------------------------------------------- what it is asked


@st.composite
def models(draw: st.DrawFn) -> Node:
    values = itertools.count(100)
    built: list[nn.Module] = []

    def node(depth: int) -> Node:
        children: list[nn.Module] = []
        for _ in range(draw(st.integers(1, 3))):
            choice = draw(st.integers(0, 9))
            if choice < 4 and depth < 3:
                children.append(node(depth + 1))
            elif choice > 7 and built:
                children.append(draw(st.sampled_from(built)))
            else:
                children.append(draw(st.sampled_from(LEAVES))())
                built.append(children[-1])
        cls = OwnInit if depth and draw(st.integers(0, 3)) == 0 else Node
        made = cls(children, draw(st.lists(st.sampled_from(["weight", "bias", "pos_embed"]), unique=True)))
        if cls is OwnInit:
            made.value = float(next(values))
        elif draw(st.booleans()):
            made.init_cfg = draw(st.lists(rules(made, values), min_size=1, max_size=3))
        built.append(made)
        return made

    root = node(0)
    owners = [module for module in root.modules() if module._parameters.get("weight") is not None]
    for source, target in draw(st.lists(st.tuples(*[st.sampled_from(owners)] * 2), max_size=3)) if owners else []:
        if source.weight.shape == target.weight.shape:
            target.weight = source.weight
    return root


@st.composite
def rules(draw: st.DrawFn, carrier: nn.Module, values: Iterator[int]) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "Constant", "val": float(next(values))}
    if draw(st.booleans()):
        item["layer"] = draw(st.sampled_from(LAYERS) | st.lists(st.sampled_from(LAYERS), min_size=1, max_size=3))
    if draw(st.integers(0, 2)) == 0:
        item["name"] = draw(globs(carrier) | st.lists(globs(carrier), min_size=1, max_size=2))
    if draw(st.integers(0, 3)) == 0:
        item["within"] = draw(st.sampled_from(WITHIN))
    if draw(st.integers(0, 3)) == 0:
        item["ndim"] = draw(st.sampled_from([*NDIMS, [1, "== 4"]]))
    if draw(st.integers(0, 2)) == 0:
        item["params"] = draw(st.sampled_from(PARAMS))
    if draw(st.booleans()) and all(matches(item.get("params", [name]), name) for name in ("weight", "bias")):
        item["bias"] = draw(st.sampled_from([None, 1.5, -3.0]))
    if draw(st.booleans()):
        item["override"] = draw(st.lists(overrides(carrier, values), min_size=1, max_size=2))
    return item


@st.composite
def overrides(draw: st.DrawFn, carrier: nn.Module, values: Iterator[int]) -> dict[str, Any]:
    override: dict[str, Any] = {"name": draw(globs(carrier, with_params=False))}
    if draw(st.booleans()):
        override |= {"type": "Constant", "val": float(next(values))}
        if draw(st.booleans()):
            override |= {"params": draw(st.sampled_from(PARAMS))}
        if draw(st.integers(0, 3)) == 0:
            override |= {"within": draw(st.sampled_from(WITHIN)), "ndim": draw(st.sampled_from(list(NDIMS)))}
    return override


@st.composite
def globs(draw: st.DrawFn, carrier: nn.Module, with_params: bool = True) -> str:
    names = [name for name, _ in paths(carrier) if name]
    if with_params:
        names += [name for name, _ in carrier.named_parameters()]
    parts = draw(st.sampled_from(names)).split(".")
    for index in range(len(parts)):
        parts[index] = draw(st.sampled_from([parts[index]] * 4 + ["*", "**", f"{parts[index][0]}*", "c[01]", "c?"]))
    return draw(st.sampled_from([".".join(parts)] * 5 + ["**", f"re:.*{re.escape(parts[-1][:1])}.", f"**.{parts[-1]}"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


NUMBERS = itertools.count(1000)


@st.composite
def loads(draw: st.DrawFn, carrier: nn.Module, folder: Path) -> dict[str, Any]:
    state, number = carrier.state_dict(), next(NUMBERS)
    keys = draw(st.lists(st.sampled_from(sorted(state)), min_size=1, unique=True))
    torch.save({key: torch.full_like(state[key], number) for key in keys}, path := str(folder / f"{number}.pth"))
    item: dict[str, Any] = {"type": "Pretrained", "checkpoint": path}
    part = {"name": draw(globs(carrier))} | draw(st.sampled_from([{}, *({"params": each} for each in PARAMS)]))
    if any(is_loaded(part, key) for key in keys):
        item |= draw(st.sampled_from([part, {}]))
    if draw(st.booleans()):
        item["override"] = [draw(overrides(carrier, NUMBERS)) | {"type": "Constant", "val": float(next(NUMBERS))}]
    return item


def found(model: nn.Module) -> dict[str, set[float]]:
    return {name: set(param.flatten().tolist()) for name, param in model.named_parameters()}


def expected(model: nn.Module, passed: list[list[dict[str, Any]]], **options: bool) -> dict[str, set[float]]:
    values = Oracle(model).run(passed, **options)
    return {name: {values[id(param)]} for name, param in model.named_parameters()}


@given(st.data())
def test_precedence(folder: Path, data: st.DataObject) -> None:
    model = filled_with(SENTINEL, data.draw(models(), label="model"))
    passed = data.draw(st.lists(rules(model, itertools.count(500)), max_size=3), label="cfg")
    carriers = [module for module in model.modules() if isinstance(getattr(module, "init_cfg", None), list)]
    for cfg, carrier in ((passed, model), *((module.init_cfg, module) for module in carriers[:1])):
        if carrier.state_dict() and data.draw(st.integers(0, 3)) == 0:
            cfg.insert(data.draw(st.integers(0, len(cfg))), data.draw(loads(carrier, folder)))
    own_init = data.draw(st.sampled_from(["auto", "run", "skip"]), label="own_init")
    with without_our_warnings():
        autoinit.initialize(model, passed, unmatched="ignore", own_init=own_init)
    assert found(model) == expected(model, [passed], in_block=False, runs_own=own_init == "run")


@given(st.data())
def test_precedence_of_blocks(data: st.DataObject) -> None:
    """Written for one model, and met by another, so that many rules match parts only."""
    sketch = data.draw(models(), label="another model")
    outer, inner = (
        data.draw(st.lists(rules(sketch, itertools.count(start)), max_size=2), label="cfg") for start in (500, 700)
    )
    with without_our_warnings():
        with autoinit.autoinit(outer, unmatched="ignore"), autoinit.autoinit(inner, unmatched="ignore"):
            model = filled_with(SENTINEL, data.draw(models(), label="model"))
    assert found(model) == expected(model, [outer, inner], in_block=True)
