"""Schemes that ignore the shape of a tensor: constants, and distributions with fixed numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import fills
from ..errors import ConfigError
from ..fills import Fill, TensorSpec
from .given_numbers import UNRESOLVED, number
from .initializer import Initializer
from .registry import register_initializer

FAR = 1e6
"""With bounds this many standard deviations away, all values are on the nearer bound, up to 1e-6 of a std."""

FLAT = 2.0**-32
"""Over an interval this narrow, in standard deviations, the density of a normal is even to this relative error."""


@register_initializer("Constant")
@dataclass(frozen=True, kw_only=True)
class Constant(Initializer):
    """Every element is `val` (`torch.nn.init.constant_`); with a list, each map or each element has its value.

    Example:
        >>> from torch import nn
        >>> from autoinit import plan
        >>> rule = dict(type="Constant", val=[0, 1, 0, 0], layer="LSTM", params="bias_ih*")
        >>> print(plan(nn.LSTM(8, 4), rule)["bias_ih_l0"].fill)
        [0:4] Constant(value=0), [4:8] Constant(value=1), [8:12] Constant(value=0), [12:16] Constant(value=0)
    """

    reads = "nothing"

    val: float = number(finite=False, drawn=False)

    def fill(self, spec: TensorSpec) -> Fill:
        return fills.Vector(self.val) if isinstance(self.val, tuple) else fills.Constant(self.val)


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

    Args:
        mean: Location of the normal.
        std: Standard deviation of the normal before it is truncated.
        a: Smallest value.
        b: Largest value.
        cut: Truncate at this many standard deviations from `mean`, instead of `a` and `b`.

    Example:
        >>> from autoinit.fills import TensorSpec
        >>> TruncNormal(std=0.02, cut=2).fill(TensorSpec(shape=(3,)))
        TruncNormal(loc=0.0, scale=0.02, low=-0.04, high=0.04)
    """

    reads = "nothing"

    mean: float = number(0.0)
    std: float = number(1.0, low=0)
    a: float = number(-2.0, finite=False)
    b: float = number(2.0, finite=False)
    cut: float | None = number(None, low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cut is None:
            _check_order(self)
        elif (self.a, self.b) != (-2, 2):
            raise ConfigError(
                f"TruncNormal: cut={self.cut} with a={self.a}, b={self.b}. Give cut, in standard deviations, or a and "
                "b, which are values."
            )
        elif self.cut == 0:
            raise ConfigError("TruncNormal: cut=0 allows only the mean. Use Constant.")

    @property
    def truncates_nothing(self) -> bool:
        """Whether the default bounds, which are values, are more than five standard deviations away."""
        if self.cut is not None or (self.a, self.b) != (-2, 2) or isinstance(self.std, UNRESOLVED):
            return False
        return not isinstance(self.mean, UNRESOLVED) and 0 < 5 * self.std < 2 - abs(self.mean)

    def fill(self, spec: TensorSpec) -> Fill:
        low, high = self.a, self.b
        if self.cut is not None:
            low, high = self.mean - self.cut * self.std, self.mean + self.cut * self.std
        if self.std == 0 or low == high:
            return fills.Constant(min(max(self.mean, low), high))
        alpha, beta = (low - self.mean) / self.std, (high - self.mean) / self.std
        if alpha > FAR or beta < -FAR:
            return fills.Constant(low if alpha > 0 else high)
        if (beta - alpha) * max(1.0, abs(alpha), abs(beta)) < FLAT:
            return fills.Uniform(low, high)
        return fills.TruncNormal(self.mean, self.std, low, high)


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
    if isinstance(scheme.a, UNRESOLVED) or isinstance(scheme.b, UNRESOLVED):
        return  # It is checked when the numbers are known.
    if math.inf in (scheme.a, -scheme.b):
        raise ConfigError(f"{type(scheme).__name__}: no number lies between a={scheme.a} and b={scheme.b}.")
    if scheme.a > scheme.b:
        raise ConfigError(f"{type(scheme).__name__}: a={scheme.a} is above b={scheme.b}. Swap them.")
