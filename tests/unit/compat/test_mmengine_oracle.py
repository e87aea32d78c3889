"""Parity with the real mmengine 0.10.7 on random models and configs, parameter for parameter.

Where the original's behaviour is kept (`mmengine-compat.md`, sections 1-4). `for_the_original` writes out the one
difference of section 6 that random trees cannot help meeting: a `layer` that means a grandchild of its class, too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import mmengine.model
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import autoinit
from autoinit.compat import mmengine as compat
from tests.models import without_our_warnings

from .modules import silence
from .random_trees import BLOCKS, CONTAINERS, Checkpoints, Config, Kinds, Tree, loading, trees, with_config
from .tree_libraries import SENTINEL, Library

ORIGINAL, OURS = Library(mmengine.model), Library(compat)

WITH_OWN_INIT = Kinds(branches=(*BLOCKS, *CONTAINERS, "Plain", "Head"))
# A module that is reached twice is here a module with one winner (P3, P5): without own `init_weights` that is the same.
# Few kinds, so that rules of several configs meet at what is shared.
WITH_SHARED = Kinds(
    branches=("Block", "Sequential"), leaves=("Linear", "SubLinear"), layers=("Linear", "SubLinear"), shared=True
)


@pytest.fixture(autouse=True, scope="module")
def silent_original() -> Iterator[None]:
    with silence():
        yield


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    return Checkpoints(tmp_path_factory.mktemp("checkpoints"))


def bases(cls: type) -> Iterator[type]:
    return (base for base in cls.__mro__ if base is not nn.Module and base is not object)


def for_the_original(cfg: Any, model: nn.Module) -> Any:
    """The config with every class of the model in `layer` that one of its names is an ancestor of."""
    classes = {type(module) for module in model.modules()}

    def write_out(layer: str | list[str]) -> list[str]:
        names = [layer] if isinstance(layer, str) else layer
        return [cls.__name__ for cls in classes if any(base.__name__ in names for base in bases(cls))]

    cfg = copy.deepcopy(cfg)
    for item in [cfg] if isinstance(cfg, dict) else cfg or []:
        if item.get("layer") is not None:
            item["layer"] = write_out(item["layer"])
    return cfg


def written_out(model: nn.Module) -> nn.Module:
    """The model with that done to the configs of its modules."""
    for module in model.modules():
        if hasattr(module, "init_cfg"):
            module.init_cfg = for_the_original(module.init_cfg, model)
    return model


def build_pair(tree: Tree) -> tuple[nn.Module, nn.Module]:
    return written_out(ORIGINAL.build(tree)), OURS.build(tree)


def values(model: nn.Module) -> dict[str, list[float]]:
    """Parameters and buffers; floats as they are, so that equal means bitwise."""
    return {name: tensor.flatten().tolist() for name, tensor in model.state_dict().items()}


def kinds(model: nn.Module) -> dict[str, str | float]:
    """By parameter: the constant that it was set to, `untouched` or `random`."""
    found: dict[str, str | float] = {}
    for name, param in model.named_parameters():
        distinct = set(param.flatten().tolist())
        found[name] = "untouched" if distinct == {SENTINEL} else distinct.pop() if len(distinct) == 1 else "random"
    return found


def states(model: nn.Module) -> dict[str, bool]:
    """Which modules say that they are initialized."""
    return {name: module.is_init for name, module in model.named_modules() if hasattr(module, "is_init")}


def initialize_both(original: nn.Module, ours: nn.Module) -> None:
    original.init_weights()
    with without_our_warnings():
        ours.init_weights()


@pytest.mark.parametrize("kinds", [WITH_OWN_INIT, WITH_SHARED], ids=["own init_weights", "shared modules"])
@given(data=st.data())
def test_init_weights(kinds: Kinds, data: st.DataObject) -> None:
    tree = data.draw(trees(kinds))
    original, ours = build_pair(tree)
    initialize_both(original, ours)
    assert values(ours) == values(original)
    assert states(ours) == states(original)


@given(trees(replace(WITH_OWN_INIT, random=True)))
def test_init_weights_at_random(tree: Tree) -> None:
    original, ours = build_pair(tree)
    initialize_both(original, ours)
    assert kinds(ours) == kinds(original)


@given(trees(WITH_OWN_INIT), st.data())
def test_checkpoints(checkpoints: Checkpoints, tree: Tree, data: st.DataObject) -> None:
    original, ours = build_pair(tree)
    for name, module in original.named_modules():
        if isinstance(module, mmengine.model.BaseModule) and module.state_dict() and data.draw(st.booleans()):
            item = data.draw(loading(checkpoints, module))
            at = data.draw(st.integers(0, 3))
            for model, library in ((module, ORIGINAL), (ours.get_submodule(name), OURS)):
                rules = model.init_cfg if isinstance(model.init_cfg, list) else [model.init_cfg]
                model.init_cfg = [*filter(None, rules[:at]), library.localized(item), *filter(None, rules[at:])]
    initialize_both(original, ours)
    assert values(ours) == values(original)
    assert states(ours) == states(original)


def initialized(tree: Tree, cfg: Config) -> nn.Module:
    """The original's model, to which its function was applied."""
    model = written_out(ORIGINAL.build(tree))
    mmengine.model.initialize(model, for_the_original(ORIGINAL.localized(cfg), model))
    return model


def initialized_by(initialize: Callable[..., object], tree: Tree, cfg: Config) -> nn.Module:
    model, ours = OURS.build(tree), OURS.localized(cfg)
    before = copy.deepcopy(ours)
    with without_our_warnings():
        initialize(model, ours)
    assert ours == before
    return model


PLAIN = Kinds(branches=("Plain",), shared=True)


@given(with_config(PLAIN), st.sampled_from((autoinit.initialize, compat.initialize)))
def test_initialize_of_any_model(case: tuple[Tree, Config], initialize: Callable[..., object]) -> None:
    assert values(initialized_by(initialize, *case)) == values(initialized(*case))


@given(with_config(replace(PLAIN, random=True)))
def test_initialize_at_random(case: tuple[Tree, Config]) -> None:
    assert kinds(initialized_by(autoinit.initialize, *case)) == kinds(initialized(*case))


@given(with_config(WITH_OWN_INIT))
def test_the_function_initialize_asks_no_module(case: tuple[Tree, Config]) -> None:
    ours, original = initialized_by(compat.initialize, *case), initialized(*case)
    assert (values(ours), states(ours)) == (values(original), states(original))


@pytest.mark.parametrize("block", [True, False], ids=["block", "initialize"])
@given(case=with_config(WITH_OWN_INIT), library=st.sampled_from((ORIGINAL, OURS)))
def test_what_is_passed_is_the_outermost_config(block: bool, case: tuple[Tree, Config], library: Library) -> None:
    """A block or a call of ours around our modules, and around those of the original."""
    tree, cfg = case
    original = initialized(tree, cfg)
    original.init_weights()

    def build() -> nn.Module:
        # Below an `init_weights` that calls super() modules of the original carry out configs by themselves.
        return written_out(library.build(tree)) if library is ORIGINAL else library.build(tree)

    with without_our_warnings():
        if block:
            with autoinit.autoinit(library.localized(cfg)):
                ours = build()
        else:
            autoinit.initialize(ours := build(), library.localized(cfg))
    assert values(ours) == values(original)
    if values(ours) or not block:  # A block leaves models that hold nothing to initialize as they are.
        assert states(ours) == states(original)
