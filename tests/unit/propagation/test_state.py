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
from tests.models import Calls


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
        "values": {name: bits(tensor) for name, tensor in tensors.items()},
        "objects": {name: id(tensor) for name, tensor in tensors.items()},
        "tables": {name: (list(m._parameters), list(m._buffers)) for name, m in model.named_modules()},
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "gradients": {name: (id(tensor.grad), bits(tensor.grad)) for name, tensor in tensors.items()},
        "tensor hooks": {name: tensor._backward_hooks for name, tensor in tensors.items()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": {name: [dict(getattr(m, table)) for table in hooks] for name, m in model.named_modules()},
        "attributes": {name: set(module.__dict__) for name, module in model.named_modules()},
        "generators": (bits(torch.get_rng_state()), random.getstate(), np.random.get_state()[1].tolist()),
    }


def bits(tensor: Tensor | None) -> bytes:
    return b"" if tensor is None else tensor.detach().numpy().tobytes()


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
    after = state(model)
    changed = {part for part in before if before[part] != after[part]}
    assert changed >= {"values", "requires_grad", "gradients", "modes", "generators"}


@pytest.mark.parametrize("backward", [True, False])
def test_nothing_is_left_behind(inputs: Tensor, backward: bool) -> None:
    model = net()
    before = state(model)
    found = propagate(model, inputs, backward=backward)
    assert state(model) == before
    assert found["norm"].std is not None and found["norm"].std > 0


class FailsBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise ZeroDivisionError("backward")


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_nothing_is_left_behind_by_an_exception(inputs: Tensor, where: str) -> None:
    model = net(fails=True) if where == "forward" else Calls(lambda m, x: FailsBackward.apply(m.net(x)), net=net())
    before = state(model)
    with pytest.raises(ZeroDivisionError, match=where):
        propagate(model, inputs)
    assert state(model) == before


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

    def remember(module: Calls, x: Tensor) -> Tensor:
        # Of the activations so far, only the input of this call is needed here.
        assert sum(ref() is not None for ref in alive) <= 1
        made = x + 1
        alive.append(weakref.ref(made))
        return made

    found = measured(nn.Sequential(nn.Linear(4, 4), *(Calls(remember) for _ in range(6))), backward=False)
    assert len(found) == 7
    assert not any(ref() is not None for ref in alive)


def test_an_output_that_the_model_keeps_has_no_hook_left() -> None:
    kept: list[Tensor] = []

    def keep(module: Calls, x: Tensor) -> Tensor:
        kept.append(x * 2)
        return kept[-1]

    propagate(nn.Sequential(nn.Linear(4, 4), Calls(keep)), torch.ones(2, 4))
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

    found = measured(Calls(forward, "one", "two"))
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
    assert list(found.gradients) == ["0.bias", *(f"0.parametrizations.weight.original{number}" for number in (0, 1))]


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
