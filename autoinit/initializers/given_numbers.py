"""The numbers that users write in an initializer: checked when they are read."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, field
from decimal import Decimal
from typing import Any

from ..errors import ConfigError, ConfigTypeError, ShapeError, nearest
from ..sampling.truncation import float32
from .expression import NAMES, Expression

Given = float | Expression | tuple[float | Expression, ...]
"""A number, an expression, or a list of these: one for each map of a fused weight, or for each value of a vector."""

UNRESOLVED = (Expression, tuple)


def number(
    default: Any = ...,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    finite: bool = True,
    drawn: bool = True,
) -> Any:
    """A field of an initializer: a real number, stored as a float.

    It may also be an expression, or a list of numbers for the maps of a fused weight. `fill` sees the numbers that
    these come to.

    Args:
        default: Default value; without one the field is required. If it is None, the field may be None.
        low: Smallest value.
        high: Largest value.
        finite: Whether infinity is refused.
        drawn: Whether values are drawn with it, which is done in float32.

    Example:
        >>> from autoinit.initializers import Initializer
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Flat(Initializer):
        ...     width: float = number(1.0, low=0)
        ...
        ...     def fill(self, spec):
        ...         return fills.Uniform(-self.width, self.width)
        >>> from autoinit import fills, plan
        >>> from torch import nn
        >>> plan(nn.Linear(4, 2), dict(type=Flat, width="1/fan_in", layer="Linear"))["weight"].fill
        Uniform(low=-0.25, high=0.25)
    """
    limits = Limits(low=low, high=high, finite=finite, drawn=drawn, is_optional=default is None)
    return field(default=MISSING if default is ... else default, metadata={"check": limits.check, "number": True})


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a number: the arguments of `number`."""

    low: float
    high: float
    finite: bool
    drawn: bool
    is_optional: bool

    def check(self, scheme: object, name: str) -> None:
        """Put a float, an expression, or a tuple of these in the place of what a user wrote."""
        given = getattr(scheme, name)
        if given is None and self.is_optional:
            return
        label = f"{type(scheme).__name__}: {name}={given!r}"
        items = None if type(given) is float else _items(given)
        if items is not None and not items:
            raise ConfigError(f"{label}: an empty list. Give a number, or one for each map or value.")
        found: Given
        if items is None:
            found = self._one(given, label)
        else:
            found = tuple([self._one(item, f"{label} (number {at} of it)") for at, item in enumerate(items, 1)])
        object.__setattr__(scheme, name, found)

    def _one(self, given: object, label: str) -> float | Expression:
        value = given if type(given) is float else _read(given, label)
        if isinstance(value, Expression):
            return value
        if math.isnan(value) and not self.drawn:
            raise ConfigError(f"{label} is not a value for a parameter.")
        if math.isnan(value) or (self.finite and math.isinf(value)):
            raise ConfigError(f"{label} must be a finite number.")
        if self.drawn and math.isfinite(value) and math.isinf(float32(value)):
            raise ConfigError(f"{label} is beyond float32, in which values are drawn.")
        if not self.low <= value <= self.high:
            bounds = f"at least {self.low:g}" if math.isinf(self.high) else f"between {self.low:g} and {self.high:g}"
            raise ConfigError(f"{label} must be {bounds}.")
        return value


def _items(given: object) -> Sequence[object] | None:
    """The items of a list, or of a tensor or array of one dimension; None for anything else."""
    if isinstance(given, (list, tuple)):
        return given
    listed: Any = given
    return listed.tolist() if getattr(given, "ndim", None) == 1 and hasattr(given, "tolist") else None


def _read(given: object, label: str) -> float | Expression:
    """A number, or an expression with names; a number in quotes, or a word that resembles no name, is neither."""
    if not isinstance(given, str):
        return given if isinstance(given, Expression) else real(given, label)
    text, mistyped = given.strip(), f"{label} must be a number, not str"
    try:
        expression = Expression(text)
    except ConfigError as error:
        if text.isidentifier() and not nearest(text, NAMES):
            raise ConfigTypeError(f"{mistyped}.") from error
        if isinstance(error.__cause__, (SyntaxError, ValueError)):
            raise ConfigTypeError(f"{mistyped}: {error}") from error
        what = str(error).removeprefix(f"{text!r}: ") if repr(text) in label else str(error)
        raise ConfigError(f"{label}: {what}") from error
    if expression.is_literal:
        raise ConfigTypeError(f"{mistyped}.")
    try:
        return expression if expression.names else expression.value({})
    except ShapeError as error:
        raise ConfigError(described(label, expression.text, error)) from error


def described(label: str, text: str, error: Exception) -> str:
    """The message of an error that begins with the text of an expression, which a label may end with."""
    reason = str(error).removeprefix(text)
    return label + reason if label.endswith((text, repr(text))) else f"{label}: {text}{reason}"


def real(value: object, label: str) -> float:
    """A number as a float; an error that begins with `label` if it is a bool, no number, or beyond any float."""
    value = plain_number(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigTypeError(f"{label} must be a number, not {type(value).__name__}.")
    try:
        return float(value)
    except OverflowError as error:
        raise ConfigError(f"{label} is beyond any float.") from error


def plain_number(value: Any) -> object:
    """Python's number for a `Decimal`, a NumPy scalar, or a tensor or array without dimensions; else the value."""
    with suppress(Exception):  # A signaling NaN, or a tensor on the meta device.
        if isinstance(value, Decimal):
            return float(value)
        if getattr(value, "shape", None) == ():
            return value.item()
    return value
