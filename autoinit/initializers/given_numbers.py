"""The numbers that users write in an initializer: checked when they are read."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..errors import ConfigError, ConfigTypeError, ShapeError, nearest
from ..sampling.truncation import float32
from .expression import NAMES, Expression

Given = float | Expression | tuple[float | Expression, ...]
"""A number, an expression, or a list of these: one for each map of a fused weight, or for each value of a vector."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a number may be.

    Args:
        low: Smallest value.
        high: Largest value.
        finite: Whether infinity is refused.
        drawn: Whether values are drawn with it, which is done in float32.
    """

    low: float = -math.inf
    high: float = math.inf
    finite: bool = True
    drawn: bool = True

    def read(self, given: object, label: str) -> Given:
        """What a user wrote as a float, an expression, or a tuple of these; `label` names it in errors.

        Raises:
            ConfigTypeError: Not a number.
            ConfigError: A number out of the limits, or an invalid expression.

        Example:
            >>> Limits(low=0).read("1/sqrt(2)", "std"), Limits(low=0).read([1, 2], "gain")
            (0.7071067811865475, (1.0, 2.0))
        """
        items = _items(given)
        if items is None:
            return self._one(given, label)
        if not items:
            raise ConfigError(f"{label}: an empty list. Give a number, or one for each map or value.")
        return tuple([self._one(item, f"{label} (number {at} of it)") for at, item in enumerate(items, 1)])

    def _one(self, given: object, label: str) -> float | Expression:
        if isinstance(given, str):
            expression = _expression(given, label)
            if expression.names:
                return expression
            try:
                given = expression.value({})
            except ShapeError as error:
                raise ConfigError(described(label, expression.text, error)) from error
        return given if isinstance(given, Expression) else self._checked(real(given, label), label)

    def _checked(self, value: float, label: str) -> float:
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


def _expression(given: str, label: str) -> Expression:
    """An expression; a number in quotes, or a word that resembles no name, is not one."""
    text = given.strip()
    mistyped = f"{label} must be a number, not str"
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
    return expression


def described(label: str, text: str, error: Exception) -> str:
    """The message of an error that begins with the text of an expression, which a label may end with."""
    reason = str(error).removeprefix(text)
    return label + reason if label.endswith((text, repr(text))) else f"{label}: {text}{reason}"


def real(value: object, label: str) -> float:
    """A number as a float.

    Raises:
        ConfigTypeError: not a number, or a bool.
        ConfigError: an integer beyond any float.
    """
    value = plain_number(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigTypeError(f"{label} must be a number, not {type(value).__name__}.")
    try:
        return float(value)
    except OverflowError as error:
        raise ConfigError(f"{label} is beyond any float.") from error


def plain_number(value: Any) -> object:
    """Python's number for a `Decimal`, a NumPy scalar, or a tensor or array without dimensions; else the value itself.

    Example:
        >>> import torch
        >>> plain_number(Decimal("0.5")), plain_number(torch.tensor(2)), plain_number("0.5")
        (0.5, 2, '0.5')
    """
    with suppress(Exception):  # A signaling NaN, or a tensor on the meta device.
        if isinstance(value, Decimal):
            return float(value)
        if getattr(value, "shape", None) == ():
            return value.item()
    return value
