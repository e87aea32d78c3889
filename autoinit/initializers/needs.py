"""What the numbers of an initializer need to know of a parameter, and the initializer once that is known."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from ..errors import ConfigError, ShapeError
from .basic import Constant
from .expression import Expression
from .initializer import UNRESOLVED, Initializer, Reads, shown
from .position import MapNumbers
from .scaled import Scaled

S = TypeVar("S", bound=Initializer)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What the numbers of an initializer need to know of a parameter.

    Args:
        fields: The fields with expressions or lists, and with initializers that have such fields.
        names: The names that expressions read.
        lists: Whether there is a list of numbers.
        convention: How axes are read: as the initializer `reads`; by the layer if there are lists, or expressions with
            fans in an initializer that otherwise ignores axes.
        fans: Whether values depend on fans.
    """

    fields: tuple[str, ...]
    names: frozenset[str]
    lists: bool
    convention: Reads
    fans: bool

    @property
    def list_around(self) -> bool:
        """Whether they depend on the list of modules around a parameter."""
        return not self.names.isdisjoint(("layer", "depth"))

    @property
    def maps(self) -> bool:
        """Whether they depend on the maps in a parameter."""
        return self.lists or not self.names.isdisjoint(("fan_in", "fan_out"))


def needs_of(scheme: Initializer) -> Needs:
    """What the numbers of an initializer need; kept with the initializer.

    Example:
        >>> from autoinit.initializers import Normal
        >>> needs = needs_of(Normal(std="1/sqrt(fan_in)"))
        >>> needs.fields, needs.names, needs.convention
        (('std',), frozenset({'fan_in'}), 'layer')
    """
    found: Needs | None = vars(scheme).get("_needs")
    if found is None:
        found = _needs(scheme)
        object.__setattr__(scheme, "_needs", found)
    return found


def _needs(scheme: Initializer) -> Needs:
    names: frozenset[str] = frozenset()
    unresolved, lists = [], False
    for each in fields(scheme):
        value: Any = getattr(scheme, each.name)
        inner = needs_of(value) if isinstance(value, Initializer) else None
        if inner is not None and inner.fields:
            names, lists = names | inner.names, lists or inner.lists
        elif "number" in each.metadata and isinstance(value, UNRESOLVED):
            items = value if isinstance(value, tuple) else (value,)
            names = names.union(*(item.names for item in items if isinstance(item, Expression)))
            lists = lists or isinstance(value, tuple)
        else:
            continue
        unresolved.append(each.name)
    fans = scheme.reads != "nothing" or not names.isdisjoint(("fan_in", "fan_out"))
    convention: Reads = "layer" if lists or (fans and scheme.reads == "nothing") else scheme.reads
    return Needs(fields=tuple(unresolved), names=names, lists=lists, convention=convention, fans=fans)


def is_vector(scheme: Initializer, shape: tuple[int, ...]) -> bool:
    """Whether a list in a `Constant` has a value for each element of a tensor of this shape."""
    while isinstance(scheme, Scaled):
        scheme = scheme.of
    return isinstance(scheme, Constant) and isinstance(scheme.val, tuple) and shape == (len(scheme.val),)


def with_numbers(scheme: S, numbers: MapNumbers) -> S:
    """The initializer with the numbers of one map in place of expressions and lists.

    The list of a `Constant` with as many numbers as the parameter has elements stays a list.

    Raises:
        ShapeError: There is no such number, or it is out of the limits.
    """
    found: dict[str, object] = {}
    written = []
    for name in needs_of(scheme).fields:
        value = getattr(scheme, name)
        if isinstance(value, Initializer):
            found[name] = with_numbers(value, numbers)
            continue
        written.append(shown(name, value))
        label = f"{type(scheme).__name__}: {written[-1]}"
        if isinstance(scheme, Constant) and is_vector(scheme, numbers.shape):
            found[name] = tuple([numbers.value(item, label) for item in value])
        else:
            found[name] = numbers.value(value, label)
    try:
        return replace(scheme, **found) if found else scheme
    except ConfigError as error:
        raise ShapeError(f"{error} It comes from {', '.join(written)}.") from error
