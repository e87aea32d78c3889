"""Random configs in the original's language, and random checkpoints."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

AS_CLASS = "<class>"
"""In place of a `type`: the class of the library in question, `ConstantInit` or `PretrainedInit`."""

MATRICES = ("Linear", "Conv2d", "_ConvNd", "Embedding", "SubLinear", "SubSubLinear")
LAYERS = (*MATRICES, "BatchNorm2d", "_BatchNorm", "_NormBase", "LayerNorm", "Scale", "Block", "BaseModule", "Plain")


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
    return st.one_of(name, st.lists(name, min_size=1, max_size=5))


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
def items(
    draw: st.DrawFn, names: list[str], values: Iterator[int], random: bool, known: Sequence[str]
) -> dict[str, Any]:
    schemes = constants(values) | random_schemes() if random else constants(values)
    # These need two dimensions: not for whatever a target may have below it.
    by_fan = random and draw(st.booleans())
    item = draw(schemes_by_fan() if by_fan else schemes) | draw(biases())
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
