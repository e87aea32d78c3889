"""The base class of initializers, and the kinds of their hyper-parameters."""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from decimal import Decimal
from typing import Any, ClassVar, Literal

from ..errors import ConfigError, ConfigTypeError, nearest
from ..fills import Fill, TensorSpec
from ..sampling.truncation import float32

Reads = Literal["layer", "torch", "nothing"]


@dataclass(frozen=True, kw_only=True)
class Initializer(ABC):
    """A scheme with its hyper-parameters: immutable, comparable, printable.

    Subclass it as a frozen keyword-only dataclass and return a fill, which may depend on nothing but the spec.
    """

    reads: ClassVar[Reads] = "layer"
    """The convention by which the axes of a weight are read.

    "layer": the layer's; a weight that holds several maps (q, k and v; experts; groups) is filled map by map;
    "torch": that of `torch.nn.init`, which OpenMMLab's schemes use;
    "nothing": the scheme ignores axes.
    """

    def __post_init__(self) -> None:
        for each in fields(self):
            if (check := each.metadata.get("check")) is not None:
                check(self, each.name)

    @abstractmethod
    def fill(self, spec: TensorSpec) -> Fill | None:
        """The fill for a tensor of this description; None leaves the tensor as it is.

        Raises:
            ShapeError: the scheme is not defined for such a tensor; the message says why and what to do instead.
        """

    def __str__(self) -> str:
        shown = ", ".join(
            f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default
        )
        return f"{type(self).__name__}({shown})"


def number(
    default: Any = MISSING,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    finite: bool = True,
    drawn: bool = True,
) -> Any:
    """A field of an initializer: a real number in [low, high], stored as a float.

    Values are drawn in float32. A number that none are drawn with (`drawn=False`) may be beyond that.
    """

    def check(scheme: object, name: str) -> None:
        given = getattr(scheme, name)
        label = f"{type(scheme).__name__}: {name}={given!r}"
        value = real(given, label)
        if math.isnan(value) and not drawn:
            raise ConfigError(f"{label} is not a value for a parameter.")
        if math.isnan(value) or (finite and math.isinf(value)):
            raise ConfigError(f"{label} must be a finite number.")
        if drawn and math.isfinite(value) and math.isinf(float32(value)):
            raise ConfigError(f"{label} is beyond float32, in which values are drawn.")
        if not low <= value <= high:
            bounds = f"at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
            raise ConfigError(f"{label} must be {bounds}.")
        object.__setattr__(scheme, name, value)

    return field(default=default, metadata={"check": check})


def choice(
    default: str, choices: Sequence[str], problem: str = "is unknown", hint: Callable[[str], str] = lambda value: ""
) -> Any:
    """A field of an initializer: one of some strings; `hint` may say what to write instead of another."""

    def check(scheme: object, name: str) -> None:
        value = getattr(scheme, name)
        label = f"{type(scheme).__name__}: {name}={value!r}"
        if not isinstance(value, str):
            raise ConfigTypeError(f"{label} must be a string, not {type(value).__name__}.")
        if value not in choices:
            raise ConfigError(
                f"{label} {problem}.{hint(value) or nearest(value, choices)} Known: {', '.join(choices)}."
            )

    return field(default=default, metadata={"check": check})


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
