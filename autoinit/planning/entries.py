"""What one parameter gets, and what became of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from ..fans import Fans, Layout
from ..fills import Fill
from ..initializers import Initializer, Keep
from ..initializers.position import NOWHERE, Position
from ..rules import Rule
from . import matches
from .matches import NO_RANK, Rank
from .steps import OwnInit

FILLED, KEPT, LOADED, OWN, PENDING = "filled", "kept", "kept: loaded", "own init_weights", "pending"
NEVER_WRITTEN = "never written"
"""Why a parameter is left alone, and its outcome: its memory holds whatever was there."""
COPY_OF = "copy of "


@dataclass(frozen=True, kw_only=True)
class Deferred:
    """What is needed to resolve the fill of a lazy parameter when it has a shape.

    `otherwise` is the same for the next rule, if the `ndim` of this one may not fit.
    """

    scheme: Initializer
    layout: Layout | None
    rule: Rule
    rank: Rank = field(compare=False)
    position: Position = NOWHERE
    otherwise: Deferred | None = None

    def __str__(self) -> str:
        """The scheme in words, with what the number of dimensions decides."""
        if not self.rule.ndim:
            return str(self.scheme)
        ndims = " or ".join(map(str, self.rule.ndim))
        return f"{self.scheme} if ndim={ndims}" + (f", else {self.otherwise}" if self.otherwise is not None else "")

    def fitting(self, ndim: int) -> Deferred | None:
        """The first in this chain whose rule is for so many dimensions."""
        found: Deferred | None = self
        while found is not None and not found.rule.fits(ndim):
            found = found.otherwise
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What one parameter gets.

    Args:
        fqn: Its name; for a tied parameter the first of its names.
        shape: None while a lazy parameter has none.
        dtype: Its dtype.
        layer: Class name of the module that owns it.
        fill: What it gets; None if no rule covers it, or if it comes from a checkpoint.
        rule: The rule that won; None if none did.
        overrides: The rules that lost, weakest first.
        aliases: The other names of a tied parameter.
        kept: Why it is left alone although rules might match (`"loaded"`, `"built outside the block"`, ...).
        fans: The fans that the rule's initializer was given, with the convention; one for each kind of map in the
            weight.
        other_fans: The fans by the layer's convention, if they give another fill and the config does not choose.
        through: The parametrization that forward computes it with (`"weight_norm"`), if it is not stored as such.
        stored: The parameters that it is then set through.
        own: The call of a module's own `init_weights()` that will run over it and may write to it, if there is one.
        loader: The rule of a checkpoint that has its name, if a module's own loading code decides whether to load it.
    """

    fqn: str
    shape: tuple[int, ...] | None
    dtype: torch.dtype
    layer: str
    fill: Fill | None = None
    rule: Rule | None = None
    overrides: tuple[Rule, ...] = ()
    aliases: tuple[str, ...] = ()
    kept: str | None = None
    fans: tuple[Fans, ...] = ()
    other_fans: tuple[Fans, ...] = field(default=(), repr=False, compare=False)
    through: str = ""
    stored: tuple[str, ...] = ()
    own: OwnInit | None = None
    loader: Rule | None = None
    deferred: Deferred | None = field(default=None, repr=False, compare=False)
    rank: Rank = field(default=NO_RANK, repr=False, compare=False)

    def __repr__(self) -> str:
        overrides = f"overrides {', '.join(rule.origin for rule in self.overrides)}" if self.overrides else ""
        parts = (getattr(self, "outcome", ""), self.gets, self.origin, overrides)
        shown = ", ".join(filter(None, dict.fromkeys(parts))) or "no rule"
        return f"{type(self).__name__}({self.fqn}, {shape_text(self.shape)}: {shown})"

    @property
    def origin(self) -> str:
        """Where the winning rule was written, or an empty string."""
        return self.rule.origin if self.rule else ""

    @property
    def beat(self) -> tuple[Rule, ...]:
        """The former name of `overrides`."""
        return self.overrides

    @property
    def gets(self) -> str:
        """What it gets, in words."""
        if self.kept and self.kept != NEVER_WRITTEN:
            return f"kept: {self.kept}"
        # A checkpoint is loaded after init_weights.
        own = f"then {self.own}" if self.own is not None and self.rank.level < matches.OWN else ""
        load = f"then {self.loader.initializer}" if self.loader is not None else ""
        return ", ".join(filter(None, (self.given, own, load)))

    @property
    def given(self) -> str:
        """What its rule gives it, in words."""
        if self.fill is not None:
            return f"{self.fill} through {self.through}" if self.through else str(self.fill)
        if self.kept == NEVER_WRITTEN:
            return NEVER_WRITTEN
        if self.deferred is not None:
            return str(self.deferred)
        return str(self.rule.initializer) if self.rule else ""

    @property
    def gets_values(self) -> bool:
        """Whether its rule writes to it, rather than keep it as it is."""
        return self.rule is not None and not isinstance(self.rule.initializer, Keep)

    @property
    def is_uncovered(self) -> bool:
        """Whether no rule covers it and nothing is known to keep it."""
        return self.rule is None and self.kept in (None, NEVER_WRITTEN) and self.loader is None

    @property
    def numel(self) -> int:
        """How many values it has; 0 while a lazy one has no shape."""
        return math.prod(self.shape) if self.shape is not None else 0

    def to_dict(self) -> dict[str, Any]:
        """Strings, numbers and lists only."""
        return {
            "shape": None if self.shape is None else list(self.shape),
            "dtype": str(self.dtype).removeprefix("torch."),
            "layer": self.layer,
            "fill": None if self.fill is None else repr(self.fill),
            "rule": self.origin or None,
            "overrides": [rule.origin for rule in self.overrides],
            "aliases": list(self.aliases),
            "fans": [
                {"fan_in": fans.fan_in, "fan_out": fans.fan_out, "convention": fans.convention} for fans in self.fans
            ],
            "through": self.through or None,
        }


FIELDS = tuple(field.name for field in fields(Entry))


@dataclass(frozen=True, kw_only=True, repr=False)
class ReportEntry(Entry):
    """A plan's entry and what became of it.

    Args:
        outcome: "filled" by its rule; "kept" as its constructor made it; "kept: ..." with the reason, as data and
            where it came from; "copy of ..." if it follows another tensor; "never written" if its memory is whatever
            was there; "own init_weights" if the module's own method wrote it; "pending" while it has no shape.
    """

    outcome: str

    @classmethod
    def of(cls, entry: Entry, outcome: str) -> ReportEntry:
        """Create a report entry from an entry of a plan or report, with the given outcome."""
        return cls(**{name: getattr(entry, name) for name in FIELDS}, outcome=outcome)

    @property
    def gets(self) -> str:
        """What it got, in words."""
        if self.outcome == OWN:
            return "by its module"
        return "" if self.kept is not None else self.given

    @property
    def is_kept(self) -> bool:
        """Whether it was left as it was."""
        return self.outcome.startswith(KEPT)

    @property
    def is_uncovered(self) -> bool:
        """Whether nothing is known to have covered it: neither a rule, nor a checkpoint, nor a module's own method."""
        return self.outcome in (KEPT, NEVER_WRITTEN) and self.rule is None and self.kept in (None, NEVER_WRITTEN)

    def to_dict(self) -> dict[str, Any]:
        """Strings, numbers and lists only."""
        given = super().to_dict()
        first = {key: given.pop(key) for key in ("shape", "dtype", "layer")}
        return {**first, "outcome": self.outcome, **given}


def shape_text(shape: tuple[int, ...] | None) -> str:
    """A shape for a table."""
    return "lazy" if shape is None else " x ".join(map(str, shape)) or "scalar"
