"""The base class of initializers, and the checks of their hyper-parameters."""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from ..errors import ConfigError, ConfigTypeError, nearest
from ..fills import Fill, TensorSpec
from ..sampling.truncation import float32

Reads = Literal["layer", "torch", "nothing"]


@dataclass(frozen=True, kw_only=True)
class Initializer(ABC):
    """A scheme with its hyper-parameters: immutable, comparable, printable.

    Subclass it as a frozen keyword-only dataclass, check hyper-parameters in `__post_init__`, and return a fill.
    It must decide by the spec alone.
    """

    reads: ClassVar[Reads] = "layer"
    """The convention by which the axes of a weight are read.

    "layer": the layer's; a weight that holds several maps (q, k and v; experts; groups) is filled map by map;
    "torch": that of `torch.nn.init`, which OpenMMLab's schemes use;
    "nothing": the scheme ignores axes.
    """

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


def check_number(
    scheme: object, name: str, *, low: float = -math.inf, high: float = math.inf, finite: bool = True
) -> None:
    """Require that a field is a real number in [low, high] and store it as a float.

    Raises:
        ConfigTypeError: not a number, or a bool.
        ConfigError: NaN, infinite where it must be finite, finite but beyond float32, or out of bounds.
    """
    value = getattr(scheme, name)
    label = f"{type(scheme).__name__}: {name}={value!r}"
    value = real(value, label)
    if math.isnan(value) or (finite and math.isinf(value)):
        raise ConfigError(f"{label} must be a finite number.")
    if math.isfinite(value) and math.isinf(float32(value)):
        raise ConfigError(f"{label} is beyond float32, in which values are drawn.")
    if not low <= value <= high:
        bounds = f"at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
        raise ConfigError(f"{label} must be {bounds}.")
    object.__setattr__(scheme, name, value)


def real(value: object, label: str) -> float:
    """A number as a float.

    Raises:
        ConfigTypeError: not a number, or a bool.
        ConfigError: an integer beyond any float.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigTypeError(f"{label} must be a number, not {type(value).__name__}.")
    try:
        return float(value)
    except OverflowError as error:
        raise ConfigError(f"{label} is beyond any float.") from error


def check_choice(scheme: object, name: str, choices: Sequence[str], problem: str = "is unknown") -> None:
    """Require that a field is one of the given strings; the error has the nearest and all of them."""
    value = getattr(scheme, name)
    label = f"{type(scheme).__name__}: {name}={value!r}"
    if not isinstance(value, str):
        raise ConfigTypeError(f"{label} must be a string, not {type(value).__name__}.")
    if value not in choices:
        raise ConfigError(f"{label} {problem}.{nearest(value, choices)} Known: {', '.join(choices)}.")
