"""`prefix=`: parts that are initialized by separate calls."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autoinit import initialize, plan
from autoinit.compat.mmengine import BaseInit
from autoinit.errors import ConfigError, ConfigTypeError

CFG = [
    dict(type="Normal", layer="Linear", std=0.02),
    dict(type="Orthogonal", params="weight", name="**.last"),
    dict(type=nn.init.uniform_, layer="Linear", params="bias"),
]


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.square = nn.utils.parametrizations.orthogonal(nn.Linear(4, 16), orthogonal_map="matrix_exp")
        self.last = nn.Linear(200, 100)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([Head(), Head()])


def values(module: nn.Module) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in module.state_dict().values()]


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(values(one), values(other), strict=True))


def test_a_part_gets_the_values_that_it_has_in_the_whole() -> None:
    whole, parts = Model(), [Head(), Head()]
    initialize(whole, CFG, seed=3)
    for index, part in enumerate(parts):
        part.load_state_dict(Head().state_dict())
        initialize(part, CFG, seed=3, prefix=f"heads.{index}")
        assert same(part, whole.heads[index])
    assert not same(parts[0], parts[1])


def test_a_plan_is_applied_under_a_prefix_and_without_one_nothing_changes() -> None:
    parts = [Head() for _ in range(4)]
    for part in parts[1:]:
        part.load_state_dict(parts[0].state_dict())
    initialize(parts[0], CFG, seed=3, prefix="heads.1")
    plan(parts[1], CFG).apply(parts[1], seed=3, prefix="heads.1")
    initialize(parts[2], CFG, seed=3)
    initialize(parts[3], CFG, seed=3, prefix="")
    assert same(parts[0], parts[1]) and same(parts[2], parts[3]) and not same(parts[0], parts[2])


def test_a_lazy_part_keeps_its_prefix() -> None:
    whole, part = nn.ModuleDict({"q": nn.Linear(8, 8)}), nn.LazyLinear(8)
    initialize(whole, CFG[:1], seed=3)
    initialize(part, CFG[:1], seed=3, prefix="q")
    part(torch.ones(1, 8))
    assert torch.equal(part.weight, whole["q"].weight)


def test_parts_of_a_part_inside_of_a_modules_own_code_differ_by_their_prefix() -> None:
    class Twice(BaseInit):
        def __call__(self, module: nn.Module) -> None:
            initialize(module[0], CFG[:1], prefix="first")
            seen.append(module[0].weight.detach().clone())
            initialize(module[0], CFG[:1])

    seen: list[torch.Tensor] = []
    model, usual = nn.Sequential(nn.Linear(8, 8)), nn.Sequential(nn.Linear(8, 8))
    initialize(model, dict(type=Twice), seed=3)
    initialize(usual, CFG[:1], seed=3)
    assert torch.equal(model[0].weight, usual[0].weight) and not torch.equal(seen[0], usual[0].weight)
    initialize(usual, CFG[:1], seed=3, prefix="0.first")
    initialize(part := nn.Linear(8, 8), CFG[:1], seed=3, prefix="0.first")
    assert torch.equal(seen[0], part.weight)


@pytest.mark.parametrize("prefix", [None, 3, b"head", ["head"]])
def test_a_prefix_that_is_no_string(prefix: object) -> None:
    layer = nn.Linear(2, 2)
    before, message = values(layer), r"prefix=.* must be the name of a module, such as 'head', not \w+\."
    for call in (
        lambda **keys: initialize(layer, CFG, **keys),
        lambda **keys: plan(layer, CFG[::2]).apply(layer, **keys),
    ):
        with pytest.raises(ConfigTypeError, match=message):
            call(seed=0, prefix=prefix)
    assert all(torch.equal(a, b) for a, b in zip(before, values(layer), strict=True))


@pytest.mark.parametrize(("prefix", "hint"), [("head.", "head"), (".head", "head"), ("a..b", "a.b"), (".", None)])
def test_a_prefix_that_is_no_name_of_a_module(prefix: str, hint: str | None) -> None:
    with pytest.raises(ConfigError, match="a component is empty") as raised:
        initialize(nn.Linear(2, 2), CFG, prefix=prefix)
    assert (f"Did you mean {hint!r}?" in str(raised.value)) == (hint is not None)
    assert raised.value.origin == "prefix"
