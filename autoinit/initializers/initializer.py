"""The base class of initializers, and the facts about a parameter that their numbers depend on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from ..errors import ConfigError, ConfigTypeError, ShapeError, nearest
from ..fills import Fill, TensorSpec
from .expression import Expression
from .given_numbers import UNRESOLVED

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
        changed = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(f'{name}={shown(getattr(self, name))}' for name in changed)})"


def unfit(scheme: Initializer, spec: TensorSpec, needed: str, has: object) -> ShapeError:
    """The error for a tensor whose shape the scheme is not for."""
    return ShapeError(
        f"{type(scheme).__name__} needs {needed}, and shape {spec.shape} has {has}: "
        "narrow the rule with layer=, name= or params=, or use Constant, Normal or Uniform for this parameter."
    )


def shown(value: object) -> str:
    """The value of a field as it would be written."""
    if isinstance(value, tuple) and any(isinstance(item, Expression) for item in value):
        return f"({', '.join(map(str, value))})"
    return str(value) if isinstance(value, Expression) else repr(value)


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


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The facts about a parameter that the numbers of an initializer depend on."""

    fields: tuple[str, ...]
    """The fields with expressions or lists, or with an initializer that has such fields."""
    names: frozenset[str]
    """The names that expressions read."""
    lists: bool
    convention: Reads
    """How axes are read: by the layer if there are lists, or fans in an initializer that otherwise ignores axes."""
    fans: bool
    """Whether values depend on fans."""

    @property
    def list_around(self) -> bool:
        """Whether they depend on the list of modules around a parameter."""
        return not self.names.isdisjoint(("layer", "depth"))

    @property
    def maps(self) -> bool:
        """Whether they depend on the maps in a parameter."""
        return self.lists or not self.names.isdisjoint(("fan_in", "fan_out"))


def needs_of(scheme: Initializer) -> Needs:
    """The facts that the numbers of an initializer depend on; kept with the initializer."""
    kept: Needs | None = vars(scheme).get("_needs")
    if kept is not None:
        return kept
    unresolved, names, lists = [], set[str](), False
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
    found = Needs(fields=tuple(unresolved), names=frozenset(names), lists=lists, convention=convention, fans=fans)
    object.__setattr__(scheme, "_needs", found)
    return found
