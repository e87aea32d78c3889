"""The base class of initializers, and the kinds of their hyper-parameters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from ..errors import ConfigError, ConfigTypeError, ShapeError, nearest
from ..fills import Fill, TensorSpec
from .expression import Expression
from .given_numbers import Limits
from .given_numbers import real as real
from .position import MapNumbers

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

    @cached_property
    def unresolved(self) -> tuple[str, ...]:
        """The fields whose numbers depend on the parameter: expressions, lists, and initializers with such fields."""
        return tuple(f.name for f in fields(self) if _is_unresolved(getattr(self, f.name), "number" in f.metadata))

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that its expressions read."""
        values = [getattr(self, name) for name in self.unresolved]
        flat = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
        return frozenset().union(*(item.names for item in flat if isinstance(item, (Expression, Initializer))))

    @cached_property
    def has_lists(self) -> bool:
        """Whether it has a list of numbers."""
        values = [getattr(self, name) for name in self.unresolved]
        return any(isinstance(value, tuple) or (isinstance(value, Initializer) and value.has_lists) for value in values)

    @property
    def uses_fans(self) -> bool:
        """Whether the values depend on fans."""
        return self.reads != "nothing" or not self.names.isdisjoint(("fan_in", "fan_out"))

    @property
    def convention(self) -> Reads:
        """`reads`, or "layer" if the numbers are lists, or expressions that read fans where `reads` is "nothing"."""
        return "layer" if self.has_lists or (self.reads == "nothing" and self.uses_fans) else self.reads

    def is_vector(self, shape: tuple[int, ...]) -> bool:
        """Whether a list in it gives each element of a tensor of this shape its own value."""
        return False

    def with_numbers(self, numbers: MapNumbers) -> Initializer:
        """The initializer with the numbers of one map in place of expressions and lists.

        Raises:
            ShapeError: There is no such number, or it is out of the limits.
        """
        if not self.unresolved:
            return self
        given = {field: getattr(self, field) for field in self.unresolved}
        found = {
            field: value.with_numbers(numbers)
            if isinstance(value, Initializer)
            else numbers.value(value, f"{type(self).__name__}: {_shown(field, value)}")
            for field, value in given.items()
        }
        try:
            return replace(self, **found)
        except ConfigError as error:
            written = ", ".join(_shown(field, value) for field, value in given.items())
            raise ShapeError(f"{error} It comes from {written}.") from error

    def __str__(self) -> str:
        shown = ", ".join(
            _shown(f.name, value) if f.name in self.unresolved else f"{f.name}={value!r}"
            for f in fields(self)
            if (value := getattr(self, f.name)) != f.default
        )
        return f"{type(self).__name__}({shown})"


def _is_unresolved(value: object, is_number: bool) -> bool:
    return bool(value.unresolved) if isinstance(value, Initializer) else is_number and isinstance(value, UNRESOLVED)


def _shown(name: str, value: object) -> str:
    """A field with an expression or a list, as it would be written."""
    items = [str(item) for item in value] if isinstance(value, tuple) else []
    return f"{name}=[{', '.join(items)}]" if items else f"{name}={value}"


def number(
    default: Any = MISSING,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    finite: bool = True,
    drawn: bool = True,
) -> Any:
    """A field of an initializer: a real number in [low, high], stored as a float.

    It may also be an expression, or a list of numbers for the maps of a fused weight; `with_numbers` replaces these.
    Values are drawn in float32. A number that none are drawn with (`drawn=False`) may be beyond that. A field whose
    default is None may be None.
    """
    limits = Limits(low=low, high=high, finite=finite, drawn=drawn)

    def check(scheme: object, name: str) -> None:
        given = getattr(scheme, name)
        if given is not None or default is not None:
            object.__setattr__(scheme, name, limits.read(given, f"{type(scheme).__name__}: {name}={given!r}"))

    return field(default=default, metadata={"check": check, "number": True})


def choice(default: str, choices: Sequence[str], problem: str = "is unknown") -> Any:
    """A field of an initializer: one of some strings."""

    def check(scheme: object, name: str) -> None:
        value = getattr(scheme, name)
        label = f"{type(scheme).__name__}: {name}={value!r}"
        if not isinstance(value, str):
            raise ConfigTypeError(f"{label} must be a string, not {type(value).__name__}.")
        if value not in choices:
            raise ConfigError(f"{label} {problem}.{nearest(value, choices)} Known: {', '.join(choices)}.")

    return field(default=default, metadata={"check": check})
