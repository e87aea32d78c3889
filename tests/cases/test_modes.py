"""First calls and constructions under modes of torch: tracing, fake tensors, functorch, inference mode, swapping.

Right: what works in plain construction works in a block, the values are the rule's (design.md I5), and a report says
"filled" of what is filled.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from autoinit import AutoInitError, autoinit, initialize

from . import NORMAL, is_drawn

X = torch.ones(2, 128)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 8))


def run_fake(model: nn.Module) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model(mode.from_tensor(X))


def test_the_first_call_is_with_fake_tensors() -> None:
    """pytorch/pytorch#136446: memory is estimated by a call under FakeTensorMode(allow_non_fake_inputs=True).

    Right: real values, by the rule.
    """
    with autoinit(NORMAL, seed=0) as run:
        run_fake(model := net())
    assert is_drawn(model[0].weight) and run.report["0.weight"].outcome == "filled" and (model[0].bias == 0).all()


def to_bfloat16() -> nn.Module:
    torch.__future__.set_swap_module_params_on_conversion(True)  # put back in conftest.py
    return nn.Linear(128, 128).to(torch.bfloat16)


def called_with_fake_tensors() -> nn.Module:
    run_fake(model := net())
    return model


@pytest.mark.parametrize("build", [called_with_fake_tensors, to_bfloat16])
def test_without_rules_all_is_as_plain(build: Callable[[], nn.Module]) -> None:
    """pytorch/pytorch#136446; #187008: swap_tensors refuses tensors with weak references."""
    torch.manual_seed(1)
    plain = build()
    torch.manual_seed(1)
    with autoinit([]):
        model = build()
    assert all(map(torch.equal, plain.parameters(), model.parameters()))


def test_a_model_of_fake_tensors_is_built() -> None:
    """pytorch/pytorch torch/_subclasses (construction under FakeTensorMode, without memory).

    Right: no crash, as plain; nothing is "filled".
    """
    with autoinit(NORMAL, seed=0) as run:
        with FakeTensorMode():
            model = net()
    assert type(model[0].weight.data).__name__ == "FakeTensor"
    assert all(entry.outcome != "filled" for entry in run.report.values())


def test_a_model_is_traced() -> None:
    """Lightning-AI/pytorch-lightning#2915: add_graph traces the model by torch.jit.trace in the script.

    Right: the trace computes what the model does.
    """
    with autoinit(NORMAL, seed=0):
        traced = torch.jit.trace(model := net(), X)
    assert is_drawn(model[0].weight) and torch.equal(traced(X), model(X))


def test_a_trace_passes_the_check_of_torch() -> None:
    """ultralytics/yolov5#2284: under a constant it traces; then torch traces once more and compares.

    Right: no error, the fill is no part of it.
    """
    with autoinit(dict(type="Constant", layer="Linear", val=0.5)):
        traced = torch.jit.trace(model := net(), X)
    assert (model[0].weight == 0.5).all() and torch.equal(traced(X), model(X))


def test_tensors_are_swapped_on_conversion_under_a_rule() -> None:
    """pytorch/pytorch#187008, with a rule. Right: the rule's values in the new dtype."""
    with autoinit(NORMAL, seed=0) as run:
        layer = to_bfloat16()
    assert layer.weight.dtype == torch.bfloat16 and is_drawn(layer.weight) and run.report["weight"].outcome == "filled"


def test_tensors_are_swapped_on_loading() -> None:
    """pytorch/pytorch#186796: load_state_dict swaps, too. Right: loaded, and kept under a rule."""
    torch.__future__.set_swap_module_params_on_conversion(True)
    checkpoint = {name: torch.full_like(tensor, 7.0) for name, tensor in net().state_dict().items()}
    with autoinit(NORMAL, seed=0) as run:
        model = net()
        model.load_state_dict(checkpoint)
    assert (model[0].weight == 7).all() and run.report["0.weight"].outcome.startswith("kept")


def test_a_model_is_built_in_inference_mode() -> None:
    """sgl-project/sglang#31263: a model that only serves is built under torch.inference_mode.

    Right: the rule's values, as pytorch/pytorch#53343 promises.
    """
    with autoinit(NORMAL, seed=0):
        with torch.inference_mode():
            layer = nn.Linear(128, 128)
    assert layer.weight.is_inference() and is_drawn(layer.weight)


def test_a_model_with_a_part_from_inference_mode_is_initialized_or_left_alone() -> None:
    """pytorch/pytorch#53343: inference tensors refuse writes outside of their mode.

    Right: both parts filled, or an error of ours and nothing written.
    """
    with torch.inference_mode():
        frozen = nn.Linear(128, 128)
    model = nn.Sequential(nn.Linear(128, 128), frozen)
    before = model[0].weight.clone()
    try:
        initialize(model, NORMAL, seed=0)
    except AutoInitError:
        assert torch.equal(model[0].weight, before)
    else:
        assert is_drawn(model[0].weight) and is_drawn(frozen.weight)


@pytest.mark.parametrize(
    "derivative",
    [lambda model: torch.func.grad(lambda x: model(x).sum())(X), lambda model: torch.func.jvp(model, (X,), (X,))[1]],
    ids=["grad", "jvp"],
)
def test_the_first_call_is_inside_a_derivative(derivative: Callable[[nn.Module], Tensor]) -> None:
    """torch docs, torch.func.grad of a function that calls the model; torch.func.jvp of a model (PINNs).

    Right: the derivative of the model as it ends.
    """
    with autoinit(NORMAL, seed=0):
        got = derivative(model := net())
    assert is_drawn(model[0].weight) and torch.equal(got, derivative(model))
