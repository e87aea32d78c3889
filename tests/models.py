"""Small models that several files of tests use, and the warnings that tests of random rules ignore."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from autoinit import AutoInitWarning

M = TypeVar("M", bound=nn.Module)


class SubLinear(nn.Linear):
    pass


class SubSubLinear(SubLinear):
    pass


class Around(nn.Module):
    """A module with children, parameters and attributes, each by its name.

    Args:
        children: modules; None registers a child that is not there.
        attributes: tensors become parameters, everything else is set as it is.
    """

    def __init__(self, children: Mapping[str, nn.Module | None] | None = None, **attributes: Any) -> None:
        super().__init__()
        for name, child in (children or {}).items():
            self.add_module(name, child)
        for name, value in attributes.items():
            setattr(self, name, nn.Parameter(value) if isinstance(value, Tensor) else value)


class Calls(Around):
    """Children that a function calls: linear layers of four features by name, and others as they are given."""

    def __init__(self, function: Callable[[Any, Tensor], object], *names: str, **children: nn.Module) -> None:
        super().__init__({**{name: nn.Linear(4, 4) for name in names}, **children}, function=function)

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


class EqualizedLr:
    """A hook as in mmgeneration: the weight is the stored parameter times sqrt(2 / fan_in)."""

    name = "weight"

    def __call__(self, layer: nn.Module, inputs: object) -> None:
        stored: Any = layer.weight_orig
        layer.weight = stored * (2 / stored[0].numel()) ** 0.5


def equalized(layer: M) -> M:
    """A layer with that hook: the weight is a plain attribute, and `weight_orig` is the parameter."""
    weight: Any = layer._parameters.pop("weight")
    layer.register_parameter("weight_orig", weight)
    layer.weight = weight.data
    layer.register_forward_pre_hook(EqualizedLr())
    return layer


def filled_with(value: float, model: M) -> M:
    """The model with every parameter set to one value."""
    with torch.no_grad():
        for param in model.parameters():
            param.fill_(value)
    return model


@contextmanager
def without_our_warnings() -> Iterator[None]:
    """Random rules often select nothing, or lose to others: where only what they do counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AutoInitWarning)
        yield
