"""T: a parameter keeps everything but its values."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoinit import initialize
from tests.strategies import Stage, TensorLayout, schemes, seeds, tensors

from .cases import bits


@given(tensors(max_dims=4), st.data(), st.booleans(), st.booleans(), seeds())
def test_t_a_parameter_keeps_all_but_its_values(
    layout: TensorLayout, data: st.DataObject, requires_grad: bool, has_grad: bool, seed: int
) -> None:
    storage = layout.build()
    model = Stage(())
    model.weight = param = nn.Parameter(storage, requires_grad=requires_grad)
    grad = param.grad = torch.ones_like(param) if has_grad and requires_grad else None
    strides, version, around = param.stride(), param._version, storage.untyped_storage()
    outside = torch.tensor([], dtype=layout.dtype).set_(around).clone()
    scheme = data.draw(schemes(layout.shape))
    initialize(model, dict(scheme, params="weight"), seed=seed)
    assert model.weight is param and param.requires_grad is requires_grad and param.grad is grad
    assert (param.stride(), param.untyped_storage().data_ptr()) == (strides, around.data_ptr())
    assert param._version > version
    assert torch.isfinite(param).all()
    written = torch.tensor([], dtype=layout.dtype).set_(around).isfinite().sum().item()
    assert written == param.numel() and outside.isnan().all(), "and what lies around it in memory is left"


@given(tensors(min_dims=2, max_dims=4), st.data(), seeds())
def test_t_values_do_not_depend_on_how_a_parameter_lies_in_memory(
    layout: TensorLayout, data: st.DataObject, seed: int
) -> None:
    scheme = data.draw(schemes(layout.shape))
    values = []
    for each in (layout, TensorLayout(layout.shape, layout.dtype)):
        model = Stage(())
        model.weight = nn.Parameter(each.build())
        initialize(model, dict(scheme, params="weight"), seed=seed)
        values.append(bits(model.weight))
    assert values[0] == values[1]
