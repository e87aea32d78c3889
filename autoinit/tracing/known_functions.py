"""The initializer of autoinit that does what a function of torch, transformers or timm does, or an operator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import AutoInitError
from ..initializers import Constant, Eye, Initializer, Normal, Orthogonal, TruncNormal, Uniform, Xavier, registered
from ..initializers.other_names import OTHER_NAMES, folded

DRAWS: Mapping[str, tuple[type[Initializer], str, str]] = {
    **dict.fromkeys(("normal_", "normal", "randn", "randn_like"), (Normal, "mean", "std")),
    **dict.fromkeys(("uniform_", "uniform", "rand", "rand_like"), (Uniform, "a", "b")),
}
"""By the name of an operator: the initializer, and its numbers in the order of the operator's."""
CONSTANTS = {
    **dict.fromkeys(("zeros", "zeros_like", "zero_", "zero", "new_zeros"), 0),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), 1),
}
FILLED = ("fill_", "fill", "full", "full_like", "new_full")
OF_CONSTANTS = ("neg", "log", "exp", "sqrt", "rsqrt", "reciprocal", "abs", "tanh", "expm1", "log1p")
"""Operators that are followed for constants only."""


def of_function(name: str, arguments: Mapping[str, Any]) -> Initializer | None:
    """The initializer that does what a function of a known library does; None if autoinit has none.

    Example:
        >>> print(of_function("kaiming_uniform_", {"a": 5**0.5, "mode": "fan_in"}))
        Kaiming(a=2.23606797749979, mode='fan_in', nonlinearity='leaky_relu', distribution='uniform')
    """
    word = folded(name)
    own = next((each for each in registered if each.lower() == word), "")
    keys = dict(OTHER_NAMES.get(word, {"type": own}))
    kind, given = registered.get(str(keys.pop("type"))), {**keys, **arguments}
    given.pop("generator", None)
    try:
        if word == "truncnormaltf":  # Its bounds are those of a standard normal.
            return scaled(TruncNormal(a=given["a"], b=given["b"]), given["std"], given["mean"])
        found = kind(**given) if kind is not None else None
    except (TypeError, AutoInitError):  # Another library's function of that name, or numbers that autoinit refuses.
        return None
    return found if isinstance(found, Initializer) else None


def of_operator(name: str, numbers: tuple[Any, ...]) -> Initializer | None:
    """The initializer that does what an operator does with some numbers; None if autoinit has none.

    Example:
        >>> print(of_operator("normal_", (0.0, 0.02)))
        Normal(std=0.02)
    """
    try:
        if name in DRAWS:
            kind, *names = DRAWS[name]
            return kind(**dict(zip(names, numbers, strict=False)))
        if name in CONSTANTS or (name in FILLED and numbers):
            return Constant(val=CONSTANTS[name] if name in CONSTANTS else numbers[0])
        if name.startswith("_no_grad_trunc_normal"):
            return TruncNormal(**dict(zip(("mean", "std", "a", "b"), numbers, strict=False)))
    except (TypeError, AutoInitError):  # A random scale, numbers beyond float32: nothing that autoinit draws.
        return None
    return Eye() if name == "eye" else None


def of_constant(name: str, value: float) -> Initializer | None:
    """The initializer of an operator's result for a constant; None if that is no number.

    Example:
        >>> print(of_constant("sqrt", 0.25), of_constant("log", 0.0))
        Constant(val=0.5) None
    """
    found = getattr(torch, name)(torch.tensor(value, dtype=torch.double)).item()
    return Constant(val=found) if math.isfinite(found) else None


def scaled(initializer: Initializer | None, factor: float, shift: float = 0.0) -> Initializer | None:
    """The initializer of `x * factor + shift`, where `x` has one; None if autoinit has none.

    Example:
        >>> print(scaled(Normal(std=1), 0.02))
        Normal(std=0.02)
    """
    if not (math.isfinite(factor) and math.isfinite(shift)):
        return None
    try:
        return initializer if (factor, shift) == (1, 0) else _scaled(initializer, factor, shift)
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
