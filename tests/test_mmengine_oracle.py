"""Parity with the real mmengine 0.10.7 on random models and configs, parameter for parameter.

Where the original's behaviour is kept (`mmengine-compat.md`, sections 1-4). `for_the_original` writes out the one
difference of section 6 that random trees cannot help meeting: a `layer` that means a grandchild of its class, too.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mmengine.model
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.logging import MMLogger
from torch import nn

import autoinit
from autoinit import AutoInitWarning
from autoinit.compat import mmengine as compat

from .module_trees import (
    BLOCKS,
    CONTAINERS,
    LEAVES,
    SENTINEL,
    Config,
    Kinds,
    Library,
    Plain,
    Tree,
    child_names,
    configs,
    overridable_names,
    trees,
)

ORIGINAL, OURS = Library(mmengine.model), Library(compat)

WITH_OWN_INIT = Kinds(branches=(*BLOCKS, *CONTAINERS, "Plain", "Head"))
# A module that is reached twice is here a module with one winner (P3, P5): without own `init_weights` that is the same.
WITH_SHARED = Kinds(branches=("Block", *CONTAINERS, "Plain"), shared=True)


@pytest.fixture(autouse=True, scope="module")
def silent_original() -> Iterator[None]:
    logger = MMLogger.get_current_instance()
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


@contextmanager
def whatever_matches_nothing() -> Iterator[None]:
    """Random rules often select nothing, or wipe an override; here only what they do counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AutoInitWarning)
        yield


def bases(cls: type) -> Iterator[type]:
    return (base for base in cls.__mro__ if base is not nn.Module and base is not object)


def for_the_original(cfg: Any, model: nn.Module) -> Any:
    """The config with every class of the model in `layer` that one of its names is an ancestor of."""
    classes = {type(module) for module in model.modules()}

    def written_out(layer: str | list[str]) -> list[str]:
        names = [layer] if isinstance(layer, str) else layer
        return [cls.__name__ for cls in classes if any(base.__name__ in names for base in bases(cls))]

    cfg = copy.deepcopy(cfg)
    for item in [cfg] if isinstance(cfg, dict) else cfg or []:
        if item.get("layer") is not None:
            item["layer"] = written_out(item["layer"])
    return cfg


def build_pair(tree: Tree) -> tuple[nn.Module, nn.Module]:
    original, ours = ORIGINAL.build(tree), OURS.build(tree)
    for module in original.modules():
        if isinstance(module, mmengine.model.BaseModule):
            module.init_cfg = for_the_original(module.init_cfg, original)
    return original, ours


def values(model: nn.Module) -> dict[str, list[float]]:
    return {name: param.flatten().tolist() for name, param in model.named_parameters()}


def touched(model: nn.Module) -> dict[str, bool]:
    return {name: any(value != SENTINEL for value in value_list) for name, value_list in values(model).items()}


def states(model: nn.Module) -> dict[str, bool]:
    """Which modules say that they are initialized."""
    return {name: module.is_init for name, module in model.named_modules() if hasattr(module, "is_init")}


@given(trees(WITH_OWN_INIT))
def test_init_weights(tree: Tree) -> None:
    original, ours = build_pair(tree)
    original.init_weights()
    with whatever_matches_nothing():
        ours.init_weights()
    assert values(ours) == values(original)
    assert states(ours) == states(original)


@given(trees(WITH_SHARED))
def test_init_weights_of_shared_modules(tree: Tree) -> None:
    original, ours = build_pair(tree)
    original.init_weights()
    with whatever_matches_nothing():
        ours.init_weights()
    assert values(ours) == values(original)
    assert states(ours) == states(original)
