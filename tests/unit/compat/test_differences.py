"""Where `BaseModule.init_weights` differs from the original on purpose: `mmengine-compat.md`, section 6."""

from __future__ import annotations

from typing import Any

import mmengine.model
import pytest
from torch import nn

from autoinit import AutoInitWarning, autoinit
from autoinit.compat import mmengine as compat

from .modules import LINEAR, Block, PlainOwnInit, constant, linear, silence, weight


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
    with autoinit():
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
