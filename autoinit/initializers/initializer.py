"""The contract of an initializer, and the checks of hyper-parameters that all share."""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from ..errors import ConfigError, ConfigTypeError, ShapeError, nearest
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
    """Whose convention the axes of a weight are read by.

    "layer": the layer's, and if the weight holds several maps (q, k and v; experts; groups) each is one by itself;
    "torch": as `torch.nn.init` reads them, which the schemes of OpenMMLab do;
    "nothing": the scheme takes no notice of axes.
    """

    @abstractmethod
    def fill(self, spec: TensorSpec) -> Fill | None:
        """What a tensor of this description gets; None leaves it as it is.

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
        ConfigTypeError: not a number; a bool and a string of digits are not.
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
        ConfigTypeError: not a number; a bool and a string of digits are not.
        ConfigError: an integer that no float can hold.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigTypeError(f"{label} must be a number, not {type(value).__name__}.")
    try:
        return float(value)
    except OverflowError as error:
        raise ConfigError(f"{label} is beyond any float.") from error


def check_choice(scheme: object, name: str, choices: Sequence[str]) -> None:
    """Require that a field is one of the given strings.

    Raises:
        ConfigTypeError: not a string.
        ConfigError: an unknown one; the message has the nearest and all of them.
    """
    value = getattr(scheme, name)
    label = f"{type(scheme).__name__}: {name}={value!r}"
    if not isinstance(value, str):
        raise ConfigTypeError(f"{label} must be a string, not {type(value).__name__}.")
    if value not in choices:
        raise ConfigError(f"{label} is unknown.{nearest(value, choices)} Known: {', '.join(choices)}.")


def need_dimensions(scheme: object, spec: TensorSpec, dimensions: Sequence[int]) -> None:
    """Require that a tensor has one of these numbers of dimensions.

    Raises:
        ShapeError: with what the scheme needs, and the way out.
    """
    if len(spec.shape) not in dimensions:
        needed = " or ".join(map(str, dimensions)) if len(dimensions) < 4 else f"at least {dimensions[0]}"
        raise ShapeError(
            f"{type(scheme).__name__} needs {needed} dimensions, and shape {spec.shape} has {len(spec.shape)}: "
            "narrow the rule with layer=, name= or params=, or use Constant, Normal or Uniform for this parameter."
        )
