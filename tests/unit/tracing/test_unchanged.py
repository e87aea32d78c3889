"""`trace()` changes nothing: parameters, buffers and generators are bitwise those without it, and no hook is left."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoinit import autoinit, trace
from autoinit.construction import current_watches, listeners
from autoinit.interception.extents import open_extents


def everything() -> nn.Module:
    """Layers of every kind of constructor, large enough for fills to be postponed in a block with rules."""
    model = nn.ModuleDict(
        {
            "conv": nn.Conv2d(16, 32, 5),
            "norm": nn.BatchNorm2d(32),
            "fc": nn.Linear(128, 128),
            "table": nn.Embedding(300, 32, padding_idx=0),
            "rnn": nn.LSTM(64, 64),
            "attention": nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 2),
            "normed": nn.utils.parametrizations.weight_norm(nn.Linear(64, 64)),
            "spectral": nn.utils.parametrizations.spectral_norm(nn.Linear(64, 64)),
            "bilinear": nn.Bilinear(16, 16, 32),
        }
    )
    nn.init.trunc_normal_(model["fc"].weight, std=0.02)
    nn.init.orthogonal_(model["rnn"].weight_hh_l0)
    model["fc"].scale = nn.Parameter(torch.randn(5000) * 0.02)
    model["fc"].other = nn.Parameter(model["table"].weight.detach()[:128, :1].clone() * torch.rand(128, 128))
    model["fc"].bias.data = torch.from_numpy(np.random.default_rng(0).normal(size=128).astype(np.float32))
    return model


def used() -> nn.Module:
    """A model that is called, trained and copied in the block."""
    model = nn.Sequential(nn.LazyLinear(128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 64))
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        model(torch.randn(8, 100)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def built(build: Callable[[], nn.Module], *blocks: Callable[[], Any]) -> dict[str, Tensor]:
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(block())
        model = build()
    generator = torch.get_rng_state()
    numbers = torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()], dtype=torch.double)
    return {**model.state_dict(), "generator of torch": generator, "numbers after it": numbers}


def assert_bitwise(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name, tensor in one.items() if not torch.equal(tensor, other[name])] == []
    assert [name for name, tensor in one.items() if tensor._version != other[name]._version] == []


CFG = [dict(type="Kaiming", layer="Linear"), dict(type="Constant", val=1, layer="LSTM", params="bias*")]


def rules(**options: Any) -> Any:
    return autoinit(CFG, unmatched="ignore", **options)


BLOCKS = {
    "rules": rules,
    "no_rules": lambda: autoinit([]),
    "seeded": lambda: rules(seed=1),
    "eager": lambda: rules(defer=False),
    "trace": trace,
}


@pytest.mark.parametrize("build", [everything, used])
@pytest.mark.parametrize(
    "names",
    [
        "trace",
        "trace trace",
        *(order.format(name) for name in BLOCKS if name != "trace" for order in ("trace {}", "{} trace")),
        "rules trace rules",
        "trace no_rules trace rules trace",
    ],
)
def test_models_and_generators_are_bitwise_those_without_it(build: Callable[[], nn.Module], names: str) -> None:
    without = built(build, *(BLOCKS[name] for name in names.split() if name != "trace"))
    assert_bitwise(without, built(build, *(BLOCKS[name] for name in names.split())))


def test_fills_stay_postponed_in_a_traced_block() -> None:
    def pending(*blocks: Callable[[], Any]) -> list[int]:
        with ExitStack() as stack:
            for block in blocks:
                stack.enter_context(block())
            model = nn.Linear(200, 200)  # noqa: F841
            return [len(watch.postponed._pending) for watch in current_watches() if not watch.yields]

    assert pending(rules) == pending(trace, rules) == pending(rules, trace) == [2]


def test_nothing_is_left_after_it() -> None:
    init = nn.Module.__init__
    with pytest.raises(ZeroDivisionError), trace():
        nn.Linear(2, 2)
        assert nn.Module.__init__ is not init
        _ = 1 / 0
    assert nn.Module.__init__ is init
    assert (open_extents, listeners.current, list(current_watches())) == ([], (), [])


def test_blocks_may_end_in_any_order() -> None:
    outer, inner, rules_block = trace(), trace(), autoinit(CFG[:1], seed=0)
    outer.__enter__()
    rules_block.__enter__()
    inner.__enter__()
    model = nn.Linear(4, 4)
    outer.__exit__(None, None, None)
    nn.init.ones_(model.weight)
    rules_block.__exit__(None, None, None)
    nn.init.zeros_(model.bias)
    inner.__exit__(None, None, None)
    assert [str(call) for call in outer["weight"]] == ["kaiming_uniform_(a=2.236)"]
    assert str(inner["weight"][1]) == "ones_()"
    assert str(inner["bias"][-1]) == "zeros_()"
    assert (open_extents, listeners.current, list(current_watches())) == ([], (), [])


def test_data_from_before_an_inner_block_stays_data_in_it() -> None:
    """A tensor of the traced block outside the inner one must not count as initialization there."""
    with trace():
        table = torch.randn(100, 100)
        with autoinit(dict(type="Constant", val=1, layer="Linear"), unmatched="ignore") as run:
            model = nn.Linear(100, 100)
            model.weight.data.copy_(table)
    assert run.report["weight"].outcome.startswith("kept: data")
    assert torch.equal(model.weight, table)


def test_rules_of_modules_are_left_to_them() -> None:
    from autoinit.compat.mmengine import BaseModule

    class Engine(BaseModule):
        def __init__(self) -> None:
            super().__init__(init_cfg=dict(type="Constant", val=7, layer="Linear"))
            self.fc = nn.Linear(2, 2)

    with trace() as t:
        model = Engine()
    assert not model.fc.weight.eq(7).any()
    assert str(t["fc.weight"][0]) == "kaiming_uniform_(a=2.236)"
    with autoinit([]), trace() as t:
        model = Engine()
        assert not model.fc.weight.eq(7).any()
    assert model.fc.weight.eq(7).all()
    assert len(t["fc.weight"]) == 1
