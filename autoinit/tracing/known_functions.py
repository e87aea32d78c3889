"""The initializer of autoinit that does what a function of torch, transformers or timm does, or an operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import AutoInitError
from ..initializers import (
    Constant,
    Dirac,
    Eye,
    Initializer,
    Kaiming,
    LeCun,
    Normal,
    Orthogonal,
    Sparse,
    TruncNormal,
    Uniform,
    VarianceScaling,
    Xavier,
)

Make = Callable[..., Initializer]


def _kaiming(distribution: str) -> Make:
    def make(a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Initializer:
        # The slope counts for one nonlinearity only.
        a = a if nonlinearity == "leaky_relu" else 0
        return Kaiming(a=a, mode=mode, nonlinearity=nonlinearity, distribution=distribution)

    return make


def _scaled_trunc_normal(mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Initializer:
    """timm's `trunc_normal_tf_`: the bounds are those of a standard normal."""
    return TruncNormal(mean=mean, std=std, a=mean + a * std, b=mean + b * std)


def _variance_scaling(scale: float = 1.0, mode: str = "fan_in", distribution: str = "normal") -> Initializer:
    return VarianceScaling(scale=scale, mode=mode, distribution=distribution)


FUNCTIONS: Mapping[str, Make] = {
    "normal_": lambda mean=0.0, std=1.0: Normal(mean=mean, std=std),
    "uniform_": lambda a=0.0, b=1.0: Uniform(a=a, b=b),
    "trunc_normal_": lambda mean=0.0, std=1.0, a=-2.0, b=2.0: TruncNormal(mean=mean, std=std, a=a, b=b),
    "trunc_normal_tf_": _scaled_trunc_normal,
    "constant_": lambda val: Constant(val=val),
    "zeros_": lambda: Constant(val=0),
    "ones_": lambda: Constant(val=1),
    "xavier_uniform_": lambda gain=1.0: Xavier(gain=gain, distribution="uniform"),
    "xavier_normal_": lambda gain=1.0: Xavier(gain=gain),
    "kaiming_uniform_": _kaiming("uniform"),
    "kaiming_normal_": _kaiming("normal"),
    "orthogonal_": lambda gain=1.0: Orthogonal(gain=gain),
    "sparse_": lambda sparsity, std=0.01: Sparse(sparsity=sparsity, std=std),
    "dirac_": lambda groups=1: Dirac(groups=groups),
    "eye_": lambda: Eye(),
    "lecun_normal_": lambda: LeCun(),
    "variance_scaling_": _variance_scaling,
}
"""By the name of a function: the arguments are its own, without the tensor and the generator."""


def of_function(name: str, arguments: Mapping[str, object]) -> Initializer | None:
    """The initializer that does what a function of a known library does; None if autoinit has none.

    Example:
        >>> print(of_function("kaiming_uniform_", {"a": 5**0.5, "mode": "fan_in"}))
        Kaiming(a=2.23606797749979, mode='fan_in', nonlinearity='leaky_relu', distribution='uniform')
    """
    make = FUNCTIONS.get(name)
    if make is None:
        return None
    try:
        return make(**{key: value for key, value in arguments.items() if key != "generator"})
    except (TypeError, AutoInitError):  # Another library's function of that name, or numbers that autoinit refuses.
        return None


DRAWS = {
    **dict.fromkeys(("normal_", "normal", "randn", "randn_like"), "normal_"),
    **dict.fromkeys(("uniform_", "uniform", "rand", "rand_like"), "uniform_"),
}
"""By the name of an operator: the function that does the same. What follows the numbers of both is no number."""
CONSTANTS = {
    "zeros": 0,
    "zeros_like": 0,
    "zero_": 0,
    "zero": 0,
    "new_zeros": 0,
    "ones": 1,
    "ones_like": 1,
    "new_ones": 1,
}
FILLED = ("fill_", "fill", "full", "full_like", "new_full")


def of_operator(name: str, numbers: tuple[Any, ...]) -> Initializer | None:
    """The initializer that does what an operator does with some numbers; None if autoinit has none.

    Example:
        >>> print(of_operator("normal_", (0.0, 0.02)))
        Normal(std=0.02)
    """
    try:
        if name in DRAWS:
            return FUNCTIONS[DRAWS[name]](*numbers[:2])
        if name in CONSTANTS:
            return Constant(val=CONSTANTS[name])
        if name == "eye":
            return Eye()
        if name in FILLED and numbers:
            return Constant(val=numbers[0])
        if name.startswith("_no_grad_trunc_normal"):
            mean, std, a, b = numbers[:4]
            return TruncNormal(mean=mean, std=std, a=a, b=b)
    except (TypeError, ValueError):  # A random scale, numbers beyond float32: nothing that autoinit draws.
        return None
    return None


def scaled(initializer: Initializer | None, factor: float, shift: float = 0.0) -> Initializer | None:
    """The initializer of `x * factor + shift`, where `x` has one; None if autoinit has none.

    Example:
        >>> print(scaled(Normal(std=1), 0.02))
        Normal(std=0.02)
    """
    if factor == 1 and shift == 0:
        return initializer
    if not (math.isfinite(factor) and math.isfinite(shift)):
        return None
    try:
        return _scaled(initializer, factor, shift)
    except AutoInitError:  # Beyond float32.
        return None


def _scaled(initializer: Initializer | None, factor: float, shift: float) -> Initializer | None:
    match initializer:
        case Constant(val=val):
            return Constant(val=val * factor + shift)
        case Normal(mean=mean, std=std):
            return Normal(mean=mean * factor + shift, std=std * abs(factor))
        case Uniform(a=a, b=b):
            low, high = sorted((a * factor + shift, b * factor + shift))
            return Uniform(a=low, b=high)
        case TruncNormal(mean=mean, std=std, a=a, b=b):
            low, high = sorted((a * factor + shift, b * factor + shift))
            return TruncNormal(mean=mean * factor + shift, std=std * abs(factor), a=low, b=high)
        case Xavier(gain=gain, distribution=distribution) if shift == 0:
            return Xavier(gain=gain * abs(factor), distribution=distribution)
        case Orthogonal(gain=gain) if shift == 0:
            return Orthogonal(gain=gain * factor)
    return None
