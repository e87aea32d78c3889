"""The base class of initializers, and the kinds of their hyper-parameters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Literal

from ..errors import ConfigError, ConfigTypeError, nearest
from ..fills import Fill, TensorSpec
from .expression import Expression
from .given_numbers import Limits
from .given_numbers import real as real

Reads = Literal["layer", "torch", "nothing"]
UNRESOLVED = (Expression, tuple)


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
        changed = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(shown(name, getattr(self, name)) for name in changed)})"


def shown(name: str, value: object) -> str:
    """A field of an initializer as it would be written."""
    if isinstance(value, tuple) and any(isinstance(item, Expression) for item in value):
        return f"{name}=({', '.join(map(str, value))})"
    return f"{name}={value}" if isinstance(value, Expression) else f"{name}={value!r}"


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
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Flat(Initializer):
        ...     width: float = number(1.0, low=0)
        ...
        ...     def fill(self, spec: TensorSpec) -> Fill:
        ...         return fills.Uniform(-self.width, self.width)
        >>> from autoinit import fills, plan
        >>> from torch import nn
        >>> plan(nn.Linear(4, 2), dict(type=Flat, width="1/fan_in", layer="Linear"))["weight"].fill
        Uniform(low=-0.25, high=0.25)
    """
    limits = Limits(low=low, high=high, finite=finite, drawn=drawn)

    def check(scheme: object, name: str) -> None:
        given = getattr(scheme, name)
        if given is not None or default is not None:
            object.__setattr__(scheme, name, limits.read(given, f"{type(scheme).__name__}: {name}={given!r}"))

    return field(default=MISSING if default is ... else default, metadata={"check": check, "number": True})


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
