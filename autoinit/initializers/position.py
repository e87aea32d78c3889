"""The position of a parameter in its model, and the numbers of one map in it: expressions depend on both."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import ConfigError, ShapeError
from ..fans import Fans, Layout
from .basic import Constant
from .expression import Expression
from .given_numbers import Given, described
from .initializer import Initializer, needs_of, shown
from .scaled import unscaled

NO_LIST = (
    "no list of like modules is around it: 'layer' and 'depth' count the numbered children of one container with the "
    "same class, at least two. Narrow the rule with name= or params=."
)
NO_FANS = (
    "has no fan_in and fan_out, nor is there a weight with fans beside it. Write a number, or narrow the rule with "
    "layer=, name= or params=."
)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """The weight beside a bias; it has no shape while it is lazy, and no layout if its axes are read as torch does."""

    name: str
    shape: tuple[int, ...] | None
    layout: Layout | None


def weight_names(bias: str) -> tuple[str, ...]:
    """The names that the weight beside a bias may have.

    Example:
        >>> weight_names("bias_ih_l0"), weight_names("down_proj_bias"), weight_names("weight")
        (('weight_ih_l0',), ('down_proj_weight', 'down_proj'), ())
    """
    found = (bias.replace("bias", "weight"), bias.removesuffix("_bias"))
    return tuple(name for name in dict.fromkeys(found) if name != bias)


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a parameter is in its model.

    Args:
        layer: Position, from 1, in the outermost list of like modules around it; None if there is no list.
        depth: Length of that list.
        beside: For a bias, the weight beside it.
    """

    layer: int | None = None
    depth: int | None = None
    beside: Beside | None = None


NOWHERE = Position()


@dataclass(frozen=True, kw_only=True)
class MapNumbers:
    """The numbers of map `at` among the `count` maps of a parameter; `shape` is that of the whole parameter."""

    shape: tuple[int, ...]
    fans: Fans | None
    position: Position
    at: int
    count: int

    def put_into(self, scheme: Initializer) -> Initializer:
        """The initializer with the numbers of this map in place of expressions and lists.

        The list of a `Constant` with as many numbers as the parameter has elements stays a list.

        Raises:
            ShapeError: There is no such number, or it is out of the limits.
        """
        found: dict[str, object] = {}
        written = []
        for name in needs_of(scheme).fields:
            value = getattr(scheme, name)
            if isinstance(value, Initializer):
                found[name] = self.put_into(value)
                continue
            written.append(f"{name}={shown(value)}")
            label = f"{type(scheme).__name__}: {written[-1]}"
            if isinstance(scheme, Constant) and is_vector(scheme, self.shape):
                found[name] = tuple([self._value(item, label) for item in value])
            else:
                found[name] = self._value(value, label)
        try:
            return replace(scheme, **found)
        except ConfigError as error:
            raise ShapeError(f"{error} It comes from {', '.join(written)}.") from error

    def _value(self, given: Given, label: str) -> float:
        if isinstance(given, tuple):
            if len(given) != self.count:
                raise ShapeError(self._wrong_count(given, label))
            given = given[self.at]
        if not isinstance(given, Expression):
            return given
        numbers = {name: self._number(name, label) for name in given.names}
        try:
            return given.value(numbers)
        except ShapeError as error:
            raise ShapeError(described(label, given.text, error)) from error

    def _number(self, name: str, label: str) -> float:
        if name in ("layer", "depth"):
            found: float | None = getattr(self.position, name)
            reason = NO_LIST
        elif name == "dim":
            found = self.shape[-1] if self.shape else None
            reason = "a tensor without axes has no last axis. Write a number."
        else:
            found = getattr(self.fans, name, None)
            beside = self.position.beside
            reason = f"shape {self.shape} {NO_FANS}"
            if beside is not None and beside.shape is None:
                reason = f"{beside.name!r} beside it has no shape yet."
        if found is None:
            raise ShapeError(f"{label}: there is no {name!r}, because {reason}")
        return found

    def _wrong_count(self, given: tuple[object, ...], label: str) -> str:
        maps = "1 map" if self.count == 1 else f"{self.count} maps"
        vector = f", or {self.shape[0]} for its values" if len(self.shape) == 1 and self.shape[0] != self.count else ""
        remedy = " If the weight holds more maps, say how: fan=dict(splits=3)." if self.count == 1 else ""
        numbers = "1 number" if len(given) == 1 else f"{len(given)} numbers"
        return (
            f"{label} has {numbers}; a parameter of shape {self.shape} with {maps} needs {self.count}{vector}.{remedy}"
        )


def is_vector(scheme: Initializer, shape: tuple[int, ...]) -> bool:
    """Whether a list in a `Constant` has a value for each element of a tensor of this shape."""
    constant = unscaled(scheme)
    return isinstance(constant, Constant) and isinstance(constant.val, tuple) and shape == (len(constant.val),)
