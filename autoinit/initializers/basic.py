"""Schemes that ignore the shape of a tensor: constants, and distributions with fixed numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import fills
from ..errors import ConfigError
from ..fills import Fill, TensorSpec
from .initializer import Initializer, number
from .registry import register_initializer

FAR = 1e6
"""With bounds this many standard deviations away, all values are on the nearer bound, up to 1e-6 of a std."""

FLAT = 2.0**-32
"""Over an interval this narrow, in standard deviations, the density of a normal is even to this relative error."""


@register_initializer("Constant")
@dataclass(frozen=True, kw_only=True)
class Constant(Initializer):
    """Every element is `val` (`torch.nn.init.constant_`)."""

    reads = "nothing"

    val: float = number(finite=False, drawn=False)

    def fill(self, spec: TensorSpec) -> Fill:
        return fills.Constant(self.val)


@register_initializer("Normal")
@dataclass(frozen=True, kw_only=True)
class Normal(Initializer):
    """Normal (`torch.nn.init.normal_`).

    Example:
        >>> from autoinit.fills import TensorSpec
        >>> Normal(std=0.02).fill(TensorSpec(shape=(3,)))
        Normal(mean=0.0, std=0.02)
    """

    reads = "nothing"

    mean: float = number(0.0)
    std: float = number(1.0, low=0)

    def fill(self, spec: TensorSpec) -> Fill:
        if not self.std:
            return fills.Constant(self.mean)
        return fills.ComplexNormal(self.mean, self.std) if spec.dtype.is_complex else fills.Normal(self.mean, self.std)


@register_initializer("TruncNormal")
@dataclass(frozen=True, kw_only=True)
class TruncNormal(Initializer):
    """Normal, conditioned on [a, b] (`torch.nn.init.trunc_normal_`): `a` and `b` are values, not multiples of `std`.

    Example:
        >>> from autoinit.fills import TensorSpec
        >>> TruncNormal(std=0.02, a=-0.04, b=0.04).fill(TensorSpec(shape=(3,)))
        TruncNormal(loc=0.0, scale=0.02, low=-0.04, high=0.04)
    """

    reads = "nothing"

    mean: float = number(0.0)
    std: float = number(1.0, low=0)
    a: float = number(-2.0, finite=False)
    b: float = number(2.0, finite=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_order(self)

    def fill(self, spec: TensorSpec) -> Fill:
        if self.std == 0 or self.a == self.b:
            return fills.Constant(min(max(self.mean, self.a), self.b))
        alpha, beta = (self.a - self.mean) / self.std, (self.b - self.mean) / self.std
        if alpha > FAR or beta < -FAR:
            return fills.Constant(self.a if alpha > 0 else self.b)
        if (beta - alpha) * max(1.0, abs(alpha), abs(beta)) < FLAT:
            return fills.Uniform(self.a, self.b)
        return fills.TruncNormal(self.mean, self.std, self.a, self.b)


@register_initializer("Uniform")
@dataclass(frozen=True, kw_only=True)
class Uniform(Initializer):
    """Uniform over [a, b] (`torch.nn.init.uniform_`)."""

    reads = "nothing"

    a: float = number(0.0)
    b: float = number(1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_order(self)

    def fill(self, spec: TensorSpec) -> Fill:
        return fills.Uniform(self.a, self.b) if self.a < self.b else fills.Constant(self.a)


@register_initializer("Keep")
@dataclass(frozen=True, kw_only=True)
class Keep(Initializer):
    """Leave a parameter as it is: it counts as covered, and overrides earlier rules.

    Example:
        >>> import torch
        >>> from autoinit import plan
        >>> cfg = [
        ...     dict(type="Normal", layer="Linear"),
        ...     dict(type="Keep", layer="Linear", params="bias"),
        ... ]
        >>> decided = plan(torch.nn.Linear(2, 2), cfg)
        >>> decided["bias"].fill, decided["bias"].rule.origin, decided.uncovered
        (None, 'init_cfg[1]', ())
    """

    reads = "nothing"

    def fill(self, spec: TensorSpec) -> None:
        return None


def _check_order(scheme: TruncNormal | Uniform) -> None:
    if math.inf in (scheme.a, -scheme.b):
        raise ConfigError(f"{type(scheme).__name__}: no number lies between a={scheme.a} and b={scheme.b}.")
    if scheme.a > scheme.b:
        raise ConfigError(f"{type(scheme).__name__}: a={scheme.a} is above b={scheme.b}. Swap them.")
