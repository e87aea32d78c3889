"""The initialization that a layer's constructor does: in closed form for torch's layers, else by the layer's method."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from torch import nn

from ..errors import ShapeError
from ..fans import torch_fans
from ..fills import Fill, TensorSpec
from ..layers import is_lazy, materialized
from .basic import Constant, Normal, Uniform
from .initializer import Initializer
from .registry import register_initializer
from .variance import Kaiming, Xavier

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
METHODS = ("reset_parameters", "_reset_parameters")
"""Names of the method that a layer's constructor initializes it with."""


@register_initializer("Default")
@dataclass(frozen=True, kw_only=True)
class Default(Initializer):
    """The initialization of the layer's own `reset_parameters()`, as in torch's constructor, from autoinit's seed.

    Torch's layers have a closed form, so that values are the same on every device and shard and `verify` tests them.
    The method of other layers is called, with torch's generators seeded from the layer's key.

    Example:
        >>> from autoinit import plan
        >>> decided = plan(nn.Linear(16, 2), dict(type="Default", layer="Linear"))
        >>> print(decided["bias"].fill)
        Uniform(low=-0.25, high=0.25)
    """

    reads = "nothing"

    def fill(self, spec: TensorSpec) -> Fill:
        raise ShapeError("Default is what a layer gives, and a tensor alone has none. Use another initializer.")


def default_of(module: nn.Module, name: str) -> Initializer | None:
    """The initialization of a parameter by its layer's constructor; None if only a method of the layer knows it.

    Raises:
        ShapeError: The layer has no such method.
    """
    method = reset_method(module)
    layer = type(module).__name__
    if method is None:
        raise ShapeError(
            f"Default: {layer} has no reset_parameters(), so {name!r} has no default. Give it a rule of its own, "
            "narrow this one with layer= or name=, or use type='Keep' to leave what the constructor wrote."
        )
    cls: type = type(module)
    closed = CLOSED_FORMS.get(getattr(materialized(cls), method, None))
    if closed is None or method in module.__dict__:
        return None
    found = closed.get(name) or closed.get("*")
    if found is None:
        raise ShapeError(
            f"Default: {method}() of {layer} does not set {name!r}. Give it a rule of its own, or use type='Keep'."
        )
    return found if isinstance(found, Initializer) else found(module)


def reset_method(module: nn.Module) -> str | None:
    """The name of the method, without arguments, that a layer's constructor initializes it with."""
    cls: type = type(module)
    if not any(name in module.__dict__ for name in METHODS):
        return _method_of(cls)
    return next((name for name in METHODS if _needs_nothing(getattr(module, name, None))), None)


@lru_cache(maxsize=8192)
def _method_of(cls: type) -> str | None:
    return next((name for name in METHODS if _needs_nothing(getattr(cls, name, None), None)), None)


def _needs_nothing(method: object, *bound: object) -> bool:
    """Whether a method can be called without arguments; `bound` stands for those that the call supplies."""
    try:
        inspect.signature(cast(Callable[..., object], method)).bind(*bound)
    except (TypeError, ValueError):
        return False
    return True


def _fan_in(module: Any) -> float:
    """The fan-in of a layer's weight as torch reads it, also of one that is computed."""
    weight = module._parameters.get("weight")
    if weight is not None and not is_lazy(weight):
        read = torch_fans(tuple(weight.shape))
        return read.fan_in if read is not None else 0
    if isinstance(module, CONVOLUTIONS):
        channels = module.out_channels if module.transposed else module.in_channels
        return channels // module.groups * math.prod(module.kernel_size)
    return float(getattr(module, "in_features", 0))


def _within_root(size_of: Callable[[Any], float]) -> Callable[[Any], Initializer]:
    """Uniform within one over the square root of a size of the layer."""

    def initializer(module: Any) -> Initializer:
        size = size_of(module)
        bound = 1 / math.sqrt(size) if size > 0 else 0.0
        return Uniform(a=-bound, b=bound)

    return initializer


Forms = Mapping[str, Initializer | Callable[[Any], Initializer]]
"""By the name of a parameter, or `*` for all others, its initializer, or a function from the layer to that."""

_ZERO, _ONE = Constant(val=0.0), Constant(val=1.0)
_NORM: Forms = {"weight": _ONE, "bias": _ZERO, "running_mean": _ZERO, "running_var": _ONE}
_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
_BY_FAN_IN: Forms = {
    "weight": Kaiming(a=math.sqrt(5), mode="fan_in", nonlinearity="leaky_relu", distribution="uniform"),
    "bias": _within_root(_fan_in),
}
_RECURRENT: Forms = {"*": _within_root(lambda layer: layer.hidden_size)}
CLOSED_FORMS: Mapping[object, Forms] = {
    getattr(cls, next(name for name in METHODS if hasattr(cls, name))): forms
    for cls, forms in (
        (nn.Linear, _BY_FAN_IN),
        (nn.Conv1d, _BY_FAN_IN),
        (nn.Bilinear, dict.fromkeys(("weight", "bias"), _within_root(lambda layer: layer.in1_features))),
        (nn.Embedding, {"weight": Normal()}),
        (nn.EmbeddingBag, {"weight": Normal()}),
        (nn.BatchNorm1d, _NORM),
        (nn.LayerNorm, _NORM),
        (nn.GroupNorm, _NORM),
        (nn.RMSNorm, _NORM),
        (nn.PReLU, {"weight": lambda layer: Constant(val=float(layer.init))}),
        (nn.RNNBase, _RECURRENT),
        (nn.RNNCellBase, _RECURRENT),
        (
            nn.MultiheadAttention,
            {
                **dict.fromkeys(_PROJECTIONS, Xavier(distribution="uniform")),
                **dict.fromkeys(("bias_k", "bias_v"), Xavier()),
                "in_proj_bias": _ZERO,
            },
        ),
    )
}
"""By the method of one of torch's classes, which subclasses inherit, what it gives to their parameters."""
