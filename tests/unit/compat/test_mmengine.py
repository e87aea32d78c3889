"""`autoinit.compat.mmengine`: modules that carry an `init_cfg`."""

from __future__ import annotations

import copy
import io
import logging
import pickle
from abc import abstractmethod
from collections import OrderedDict
from typing import Any

import mmengine.model
import pytest
import torch
from torch import nn

import autoinit
from autoinit import ApplyError, AutoInitWarning, ConfigError, ShapeError
from autoinit.compat import mmengine as compat
from autoinit.compat.mmengine import BaseModule, ModuleDict, ModuleList, Sequential

from .modules import LINEAR, Block, NoSuper, OwnInit, PlainOwnInit, bias, constant, linear, silence, weight

# ---------------------------------------------------------------- BaseModule


def test_init_cfg_is_a_copy() -> None:
    cfg = [dict(LINEAR, override=dict(name="c0"))]
    block = Block(init_cfg=cfg)
    cfg[0]["override"]["name"] = "c1"
    assert block.init_cfg == [dict(LINEAR, override=dict(name="c0"))]


def test_a_second_call_warns_and_changes_nothing() -> None:
    block = Block(linear(), init_cfg=LINEAR)
    block.init_weights()
    block.c0.weight.data.fill_(3)
    with pytest.warns(AutoInitWarning, match="init_weights of Block has been called more than once") as caught:
        block.init_weights()
    assert caught[0].filename == __file__ and weight(block.c0) == 3


@pytest.mark.parametrize("opt_out", ["is_init", "attribute"])
def test_a_child_that_needs_no_call(opt_out: str) -> None:
    """Its parents' rules still write to it; what is below it is its own business."""
    below = Sequential(linear(), init_cfg=constant(5, layer="Linear"))
    child = Block(linear(), below, init_cfg=constant(4, layer="Linear"))
    plain = PlainOwnInit()
    for module in (child, plain):
        if opt_out == "is_init":
            module.is_init = True
        else:
            module.init_weights = lambda: None
    Block(child, plain, init_cfg=LINEAR).init_weights()
    assert (weight(child.c0), weight(below[0]), weight(plain.c0)) == (1, 1, 1)


def test_an_attribute_hides_that_of_the_class() -> None:
    class Configured(Block):
        init_cfg = LINEAR

    hidden, kept = Configured(linear()), Configured(linear())
    del kept.init_cfg
    for block in (hidden, kept):
        block.init_weights()
    assert (weight(hidden.c0), weight(kept.c0)) == (9, 1)


def test_models_in_wrappers() -> None:
    block = Block(nn.DataParallel(Block(linear(), init_cfg=constant(4, layer="Linear", override=dict(name="c0")))))
    block.init_weights()
    assert weight(block.c0.module.c0) == 4


def test_random_values_differ_between_modules_that_draw_for_themselves() -> None:
    class Drawing(Block):
        def init_weights(self) -> None:
            compat.normal_init(self.c0)

    block, again = (Block(Drawing(linear()), Drawing(linear())) for _ in range(2))
    for model in (block, again):
        torch.manual_seed(0)
        model.init_weights()
    assert not torch.equal(block.c0.c0.weight, block.c1.c0.weight)
    assert torch.equal(block.c1.c0.weight, again.c1.c0.weight)


def test_an_init_weights_that_asks_autoinit_for_its_own_rules_ends() -> None:
    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c0 = linear()

        def init_weights(self) -> None:
            autoinit.initialize(self, LINEAR)
            self.c0.bias.data.fill_(5)

    for model in (Asking(), Block(Asking()), Sequential(Asking())):
        model.init_weights()
        layer = next(module for module in model.modules() if isinstance(module, nn.Linear))
        assert (weight(layer), bias(layer)) == (1, 5)


def test_one_line_a_model_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "autoinit"):
        Block(OwnInit(linear(), init_cfg=LINEAR), OwnInit(linear(), init_cfg=LINEAR)).init_weights()
    assert [record.getMessage() for record in caplog.records] == ["Block: 4 own init_weights"]


def test_errors_change_nothing_and_say_whose() -> None:
    class Failing(Block):
        def init_weights(self) -> None:
            raise KeyError("norm")

    block = Block(linear(), nn.LayerNorm(2), init_cfg=[LINEAR, dict(type="Kaiming", layer=["Linear", "LayerNorm"])])
    with pytest.raises(ShapeError, match=r"Block\.init_cfg\[1\].*c1\.weight"):
        block.init_weights()
    assert (weight(block.c0), block.is_init) == (9, False)
    broken = Block(Block(linear(), init_cfg=dict(layer="Linear")), init_cfg=LINEAR)
    with pytest.raises(ConfigError, match=r"c0\.init_cfg: no 'type'"):
        broken.init_weights()
    assert weight(broken.c0.c0) == 9
    with pytest.raises(ApplyError, match=r"c1: Failing\.init_weights\(\) failed: KeyError") as caught:
        Block(linear(), Failing()).init_weights()
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("names", [mmengine.model, compat], ids=["mmengine", "ours"])
def test_a_module_in_two_places_is_called_once(names: Any) -> None:
    class Counting(names.BaseModule):
        calls = 0

        def init_weights(self) -> None:
            super().init_weights()
            type(self).calls += 1

    class Parent(names.Sequential):
        def init_weights(self) -> None:
            super().init_weights()

    shared = Counting()
    with silence():
        names.Sequential(Parent(shared), names.Sequential(shared)).init_weights()
    assert Counting.calls == 1


def test_a_module_below_one_that_initializes_itself_and_elsewhere() -> None:
    shared = PlainOwnInit()
    Block(NoSuper(linear(), shared), Block(shared)).init_weights()
    assert weight(shared.c0) == 70


# ---------------------------------------------------------------- containers, and modules as such


def test_containers_are_what_they_are_in_torch() -> None:
    sequential = Sequential(OrderedDict(a=nn.Linear(1, 1), b=nn.ReLU()), init_cfg=LINEAR)
    assert [name for name, _ in sequential.named_children()] == ["a", "b"]
    assert isinstance(sequential[:1], Sequential)
    modules = ModuleList([nn.ReLU()], init_cfg=LINEAR)
    modules.append(nn.ReLU())
    assert (len(modules), len(ModuleList()), modules.init_cfg) == (2, 0, LINEAR)
    named = ModuleDict(dict(a=nn.ReLU()), init_cfg=LINEAR)
    assert (list(named), list(ModuleDict([("b", nn.ReLU())])), len(ModuleDict())) == (["a"], ["b"], 0)
    for container, torch_class in ((sequential, nn.Sequential), (modules, nn.ModuleList), (named, nn.ModuleDict)):
        assert isinstance(container, torch_class)
        assert isinstance(container, BaseModule)


def test_repr() -> None:
    def tree(names: Any) -> nn.Module:
        return names.Sequential(names.ModuleList([nn.ReLU()], init_cfg=LINEAR), nn.ReLU(), init_cfg=[LINEAR])

    assert repr(tree(compat)) == repr(tree(mmengine.model))
    assert "init_cfg" not in repr(Sequential(nn.ReLU()))


def test_abstract_methods_are_enforced() -> None:
    class Abstract(BaseModule):
        @abstractmethod
        def loss(self) -> None: ...

    with pytest.raises(TypeError, match="abstract"):
        Abstract()


def test_nothing_is_left_on_a_module() -> None:
    block = OwnInit(linear(), Sequential(linear()), init_cfg=LINEAR)
    before = [set(vars(module)) for module in block.modules()]
    block.init_weights()
    assert [set(vars(module)) for module in block.modules()] == before
    for copied in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert copied.is_init
        assert torch.equal(copied.c0.weight, block.c0.weight)
    torch.save(block, buffer := io.BytesIO())
    buffer.seek(0)
    assert torch.load(buffer, weights_only=False).init_cfg == LINEAR


# ------------------------------------- differences on purpose: `mmengine-compat.md`, section 6


def test_plain_containers_do_not_stop_the_recursion() -> None:
    def tree(names: Any) -> nn.Module:
        inner = names.Sequential(linear(), init_cfg=constant(2, layer="Linear"))
        return names.Sequential(nn.Sequential(inner, nn.ModuleList([PlainOwnInit()])), init_cfg=LINEAR)

    original, ours = tree(mmengine.model), tree(compat)
    with silence():
        original.init_weights()
    ours.init_weights()
    assert [weight(m) for m in original.modules() if isinstance(m, nn.Linear)] == [1, 1]
    assert [weight(m) for m in ours.modules() if isinstance(m, nn.Linear)] == [2, 70]


def test_what_a_constructor_has_run_is_not_run_again_in_a_block() -> None:
    class ConvModule(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c0 = linear()
            self.init_weights()

        def init_weights(self) -> None:
            self.c0.weight.data.fill_(70)

    def value(names: Any) -> float:
        model = names.Sequential(ConvModule(), init_cfg=LINEAR)
        with silence():
            model.init_weights()
        return weight(model[0].c0)

    # Without a record of the construction, as in the original.
    assert (value(mmengine.model), value(compat)) == (70, 70)
    with autoinit.autoinit():
        model = compat.Sequential(ConvModule(), init_cfg=LINEAR)
    assert weight(model[0].c0) == 1


def test_a_module_in_two_places_is_initialized_as_it_says_itself() -> None:
    """P2: a child's config beats its parents'. In the original a parent that comes after its other parent wins."""

    def value(names: Any) -> float:
        shared = names.Sequential(linear(), init_cfg=constant(2, layer="Linear"))
        first, second = names.Sequential(shared), names.Sequential(shared, init_cfg=LINEAR)
        model = names.Sequential(first, second)
        with silence():
            model.init_weights()
        return weight(shared[0])

    assert (value(mmengine.model), value(compat)) == (1, 2)


def test_what_an_own_init_cfg_does_not_match_is_a_warning() -> None:
    for cfg, words in (
        (constant(1, layer="Linaer"), "Did you mean 'Linear'"),
        (constant(1, layer="Conv2d"), "this model has none"),
        (dict(LINEAR, override=constant(1, name="c7")), "no submodule 'c7'"),
        (constant(1), "can match nothing"),
    ):
        with pytest.warns(AutoInitWarning, match=words):
            Block(linear(), init_cfg=cfg).init_weights()
