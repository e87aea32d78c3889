"""Schemes whose distribution does not depend on the tensor's shape."""

from __future__ import annotations

from dataclasses import dataclass

from .. import fills
from ..errors import ConfigError
from ..fills import Fill, TensorSpec
from .base import Initializer, check_number
from .registry import register_initializer


@register_initializer("Constant")
@dataclass(frozen=True, kw_only=True)
class Constant(Initializer):
    """Every element is `val` (`torch.nn.init.constant_`).

    Example:
        >>> from autoinit.fills import TensorSpec
        >>> Constant(val=1).fill(TensorSpec(shape=(3,)))
        Constant(value=1.0)
    """

    val: float

    def __post_init__(self) -> None:
        check_number(self, "val", finite=False)

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

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "mean")
        check_number(self, "std", low=0)

    def fill(self, spec: TensorSpec) -> Fill:
        return fills.Normal(self.mean, self.std) if self.std else fills.Constant(self.mean)


@register_initializer("TruncNormal")
@dataclass(frozen=True, kw_only=True)
class TruncNormal(Initializer):
    """Normal, conditioned on [a, b] (`torch.nn.init.trunc_normal_`): `a` and `b` are values, not multiples of `std`.

    Example:
        >>> from autoinit.fills import TensorSpec
        >>> TruncNormal(std=0.02, a=-0.04, b=0.04).fill(TensorSpec(shape=(3,)))
        TruncNormal(loc=0.0, scale=0.02, low=-0.04, high=0.04)
    """

    mean: float = 0.0
    std: float = 1.0
    a: float = -2.0
    b: float = 2.0

    def __post_init__(self) -> None:
        check_number(self, "mean")
        check_number(self, "std", low=0)
        check_bounds(self, finite=False)

    def fill(self, spec: TensorSpec) -> Fill:
        if self.std == 0 or self.a == self.b:
            return fills.Constant(min(max(self.mean, self.a), self.b))
        return fills.TruncNormal(self.mean, self.std, self.a, self.b)


@register_initializer("Uniform")
@dataclass(frozen=True, kw_only=True)
class Uniform(Initializer):
    """Uniform over [a, b] (`torch.nn.init.uniform_`).

    Example:
        >>> from autoinit.fills import TensorSpec
        >>> Uniform(a=-0.1, b=0.1).fill(TensorSpec(shape=(3,)))
        Uniform(low=-0.1, high=0.1)
    """

    a: float = 0.0
    b: float = 1.0

    def __post_init__(self) -> None:
        check_bounds(self, finite=True)

    def fill(self, spec: TensorSpec) -> Fill:
        return fills.Uniform(self.a, self.b) if self.a < self.b else fills.Constant(self.a)


def check_bounds(scheme: TruncNormal | Uniform, *, finite: bool) -> None:
    """Require numbers `a` <= `b`."""
    check_number(scheme, "a", finite=finite)
    check_number(scheme, "b", finite=finite)
    if scheme.a > scheme.b:
        raise ConfigError(f"{type(scheme).__name__}: a={scheme.a} is above b={scheme.b}. Swap them.")
