"""Nothing of a propagation is left behind, on a model or on a generator, whether it succeeds or fails."""

from __future__ import annotations

import copy
import pickle
import random
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

from autoinit import InputError, propagate
from autoinit.propagation.forward_hooks import watched_modules
from tests.batches import measured
from tests.closed_form import bitwise_equal


class Net(nn.Module):
    """Has what a forward pass changes: running statistics, singular vectors, a lazily made buffer, draws."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.conv = spectral_norm(nn.Conv2d(3, 4, 3))
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.3)
        self.head = weight_norm(nn.Linear(4, 2))
        self.register_buffer("cache", None)
        self.fails = fails

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.act(self.norm(self.conv(x)))).mean((2, 3)) + random.random() + np.random.rand()
        self.cache = x.detach()
        self.norm.eval()
        self.head.requires_grad_(False)
        if self.fails:
            raise ZeroDivisionError("forward")
        return self.head(x)


def state(model: nn.Module) -> dict[str, Any]:
    """All that may not change, in a form that can be compared."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")
    return {
        "values": {name: tensor.detach().clone() for name, tensor in tensors.items()},
        "objects": {name: id(tensor) for name, tensor in tensors.items()},
        "tables": {name: (list(m._parameters), list(m._buffers)) for name, m in model.named_modules()},
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "gradients": {name: (id(tensor.grad), copy.copy(tensor.grad)) for name, tensor in tensors.items()},
        "tensor hooks": {name: tensor._backward_hooks for name, tensor in tensors.items()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": {name: [dict(getattr(m, table)) for table in hooks] for name, m in model.named_modules()},
        "attributes": {name: set(module.__dict__) for name, module in model.named_modules()},
        "generators": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1]),
    }


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [where]
        return [found for key in one for found in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, (tuple, list)):
        if len(one) != len(other):
            return [where]
        return [found for a, b in zip(one, other, strict=True) for found in differences(a, b, where)]
    if isinstance(one, Tensor):
        return [] if bitwise_equal(one, other) else [where]
    return [] if np.all(one == other) else [where]


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def net(**options: bool) -> Net:
    torch.manual_seed(0)
    model = Net(**options)
    model.norm.weight.grad = torch.ones(4)
    model.norm.bias.requires_grad_(False)
    model.drop.eval()
    return model


def test_forward_alone_changes_all_of_it(inputs: Tensor) -> None:
    model = net()
    before = state(model)
    model(inputs).sum().backward()
    places = {found.split("/")[1] for found in differences(before, state(model))}
    assert places >= {"values", "requires_grad", "gradients", "modes", "generators"}


@pytest.mark.parametrize("backward", [True, False])
def test_nothing_is_left_behind(inputs: Tensor, backward: bool) -> None:
    model = net()
    before = state(model)
    found = propagate(model, inputs, backward=backward)
    assert differences(before, state(model)) == []
    assert found["norm"].std is not None and found["norm"].std > 0


class FailsBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise ZeroDivisionError("backward")


class Model(nn.Module):
    """Layers of four features, and what a function makes of them."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)
        self.given = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.given(self, x)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_nothing_is_left_behind_by_an_exception(inputs: Tensor, where: str) -> None:
    model = net(fails=True) if where == "forward" else Model(lambda m, x: FailsBackward.apply(m.net(x)), net=net())
    before = state(model)
    with pytest.raises(ZeroDivisionError, match=where):
        propagate(model, inputs)
    assert differences(before, state(model)) == []


def test_a_model_can_be_copied_pickled_and_trained_afterwards() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    measured(model)
    copy.deepcopy(model)
    pickle.loads(pickle.dumps(model))
    model(torch.randn(3, 4)).sum().backward()
    assert model[0].weight.grad is not None


def test_hooks_that_step_or_reduce_do_not_run() -> None:
    model = nn.Linear(4, 4)
    called = []
    handle = model.weight.register_post_accumulate_grad_hook(lambda param: called.append(param))
    measured(model)
    assert called == []
    model(torch.ones(1, 4)).sum().backward()
    assert len(called) == 1
    handle.remove()


def test_no_activation_is_kept() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def remember(module: Model, x: Tensor) -> Tensor:
        # Of the activations so far, only the input of this call is needed here.
        assert sum(ref() is not None for ref in alive) <= 1
        made = x + 1
        alive.append(weakref.ref(made))
        return made

    found = measured(nn.Sequential(nn.Linear(4, 4), *(Model(remember) for _ in range(6))), backward=False)
    assert len(found) == 7
    assert not any(ref() is not None for ref in alive)


def test_an_output_that_the_model_keeps_has_no_hook_left() -> None:
    kept: list[Tensor] = []

    def keep(module: Model, x: Tensor) -> Tensor:
        kept.append(x * 2)
        return kept[-1]

    propagate(nn.Sequential(nn.Linear(4, 4), Model(keep)), torch.ones(2, 4))
    assert not kept[0]._backward_hooks


def test_given_inputs_keep_their_gradients() -> None:
    inputs = torch.ones(2, 4, requires_grad=True)
    propagate(nn.Sequential(nn.Identity(), nn.Linear(4, 4)), inputs)
    assert inputs.grad is None
    assert inputs._backward_hooks is None


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_are_measured_where_they_are_off(context: Callable[[], Any]) -> None:
    model, inputs = nn.Linear(4, 4), torch.ones(2, 4)
    with context():
        found = propagate(model, inputs)
        assert torch.is_inference_mode_enabled() == (context is torch.inference_mode)
        assert not torch.is_grad_enabled()
    assert found[""].gradient == 1


def test_recomputation_by_checkpointing_does_not_count() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        return checkpoint(lambda x: model.two(model.one(x).relu()), x, use_reentrant=False)

    found = measured(Model(forward, one=nn.Linear(4, 4), two=nn.Linear(4, 4)))
    assert found["one"].calls == found["two"].calls == 1
    assert found.gradients["one.weight"]


def test_in_place_changes_do_not_disturb_earlier_measurements() -> None:
    torch.manual_seed(0)
    one = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    other = nn.Sequential(one[0], nn.ReLU(inplace=True), one[2])
    assert measured(one).signals == measured(other).signals


def test_parallel_wrappers_and_parametrizations_are_looked_through() -> None:
    plain = nn.Sequential(weight_norm(nn.Linear(4, 4)), nn.ReLU())
    assert list(watched_modules(plain)) == ["0", "1"]
    assert measured(nn.DataParallel(plain)) == measured(plain)
    found = measured(plain)
    assert list(found) == ["0", "1"]
    assert list(found.gradients) == [
        "0.bias",
        "0.parametrizations.weight.original0",
        "0.parametrizations.weight.original1",
    ]


@pytest.mark.compiles
def test_a_compiled_model_is_measured_uncompiled() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    compiled = torch.compile(model, backend="eager")
    compiled(torch.ones(2, 4))
    assert measured(compiled) == measured(model)
    outer = nn.Sequential(compiled, nn.Linear(4, 4))
    outer(torch.ones(2, 4))
    assert list(measured(outer)) == ["0.0", "0.1", "1"]


def test_a_scripted_part_takes_no_hooks_and_is_left_out() -> None:
    part = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    found = measured(nn.Sequential(nn.Linear(4, 4), part, nn.Linear(4, 4)))
    assert list(found) == ["0", "2"]
    assert found.gradients["1.0.weight"]
    with pytest.raises(InputError, match="called no module that could be watched"):
        propagate(part, torch.ones(2, 4))
