"""Layers whose weight gets its shape at the first call, by other means than torch's LazyModuleMixin.

Right: filled when the shape is there, and the report says so; or "pending" in the report, and a warning of ours at
the first call. No exception of torch.
"""

from __future__ import annotations

import copy
import types
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from autoinit import AutoInitWarning, autoinit


def call(layer: nn.Module, run: Any) -> tuple[dict[str, str], bool]:
    """The outcomes after a first call, and whether we warned of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        layer(torch.ones(2, 6))
    outcomes = {name: entry.outcome for report in run.reports for name, entry in report.items()}
    return outcomes, any(issubclass(warning.category, AutoInitWarning) for warning in caught)


class ByHook(nn.Module):
    """pyg-team/pytorch_geometric#7845 (nn/dense/linear.py): a pre-hook that was bound in the constructor."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = UninitializedParameter(), nn.Parameter(torch.ones(4))
        self._hook = self.register_forward_pre_hook(self.initialize_parameters)

    @torch.no_grad()
    def initialize_parameters(self, module: nn.Module, inputs: tuple[Tensor]) -> None:
        self.weight.materialize((4, inputs[0].size(-1)))
        for param in self.parameters():
            param.uniform_(-1, 1)
        self._hook.remove()

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


class ByForward(nn.Module):
    """torch docs, UninitializedParameter.materialize: called in forward by a layer without the mixin."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = UninitializedParameter()

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.weight, UninitializedParameter):
            self.weight.materialize((4, x.size(-1)))
            nn.init.zeros_(self.weight)
        return x @ self.weight.T


class NotYet(nn.Parameter):
    pass


class ByAnotherClass(nn.Linear):
    """pfnet/pytorch-pfn-extras nn/modules/lazy.py: an empty Parameter of a class of its own, replaced in forward."""

    def __init__(self) -> None:
        super().__init__(0, 4)
        self.weight = NotYet(torch.empty(0))

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.weight, NotYet):
            self.weight = nn.Parameter(torch.empty(4, x.size(-1)))
            nn.init.ones_(self.weight)
        return super().forward(x)


@pytest.mark.parametrize("kind", [ByHook, ByForward, ByAnotherClass])
def test_a_first_call_gives_the_shape(kind: type[nn.Module]) -> None:
    with autoinit(dict(type="Constant", layer=kind.__name__, val=0.5)) as run:
        layer = kind()
    outcomes, warned = call(layer, run)
    for name, param in layer.named_parameters():
        is_filled = outcomes[name] == "filled" and bool((param == (0.5 if name == "weight" else 0)).all())
        assert is_filled or (outcomes[name] == "pending" and warned)


def test_a_layer_without_shape_is_pending_until_it_is_called() -> None:
    """torch docs, UninitializedParameter: a layer without the mixin that is never called.

    Right: built, and reported as pending.
    """
    with autoinit(dict(type="Constant", layer="ByForward", val=0.5)) as run:
        layer = ByForward()
    assert run.report["weight"].outcome == "pending" and isinstance(layer.weight, UninitializedParameter)


def test_without_rules_nobody_notices() -> None:
    """torch docs, UninitializedParameter.materialize in forward, autoinit([]).

    Right: what forward wrote, no warning of ours.
    """
    with autoinit([]) as run:
        layer = ByForward()
    _, warned = call(layer, run)
    assert (layer.weight == 0).all() and not warned


class Bound(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = UninitializedParameter()
        self.register_forward_pre_hook(self.initialize_parameters)

    def initialize_parameters(self, module: nn.Module, inputs: tuple[Tensor]) -> None:
        self.weight.materialize((4, inputs[0].size(-1)))


def test_a_hook_that_was_bound_in_the_constructor_is_the_method() -> None:
    """torch_geometric.nn.to_hetero deep copies lazy layers.

    Right (I3): in a second block, too, the hook is a plain method, and the layer can be copied.
    """
    for _ in range(2):
        with autoinit(dict(type="Constant", layer="Bound", val=0.5)):
            layer = copy.deepcopy(nn.Sequential(Bound(), Bound()))[1]
        assert all(type(hook) is types.MethodType for hook in layer._forward_pre_hooks.values())
