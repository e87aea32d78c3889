"""What a plan says of one parameter, and how it is shown."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, ItemsView, Iterable, Iterator, Mapping, ValuesView
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import torch

from ..fans import Fans, Layout
from ..fills import Fill
from ..initializers import Initializer, Keep
from ..rules import Rule
from ..tables import Table
from .binding import OWN, Rank
from .steps import OwnInit

NO_RULE = "(no rule)"
NEVER_WRITTEN = "never written"
"""Why a parameter is left alone, and its outcome: its memory holds whatever was there."""


@dataclass(frozen=True, kw_only=True)
class Deferred:
    """What is needed to resolve the fill of a lazy parameter when it has a shape."""

    scheme: Initializer
    layout: Layout | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What one parameter gets.

    Args:
        fqn: its name; for a tied parameter the first of its names.
        shape: None while a lazy parameter has none.
        dtype: the parameter's.
        layer: class name of the module that owns it.
        fill: what it gets; None if no rule covers it, or if it comes from a checkpoint.
        rule: the rule that won; None if none did.
        beat: the rules that lost, weakest first.
        aliases: the other names of a tied parameter.
        kept: why it is left alone although rules might match (`"loaded"`, `"built outside the block"`, ...).
        fans: those that the rule's scheme was given, with the convention that they were read by; one for each kind of
            map in the weight.
        through: what forward computes the parameter with, if it is not stored as such (`"weight_norm"`).
        stored: the parameters that it is then set through.
        own: The call of a module's own `init_weights()` that will run over it and may write to it, if there is one.
        loader: The rule of a checkpoint that has its name, if a module's own loading code decides whether to load it.
    """

    fqn: str
    shape: tuple[int, ...] | None
    dtype: torch.dtype
    layer: str
    fill: Fill | None = None
    rule: Rule | None = None
    beat: tuple[Rule, ...] = ()
    aliases: tuple[str, ...] = ()
    kept: str | None = None
    fans: tuple[Fans, ...] = ()
    through: str = ""
    stored: tuple[str, ...] = ()
    own: OwnInit | None = None
    loader: Rule | None = None
    deferred: Deferred | None = field(default=None, repr=False, compare=False)
    rank: Rank = field(default=(0, 0, 0, 0), repr=False, compare=False)

    @property
    def origin(self) -> str:
        """Where the winning rule was written, or an empty string."""
        return self.rule.origin if self.rule else ""

    @property
    def gets(self) -> str:
        """What it gets, in words."""
        if self.kept and self.kept != NEVER_WRITTEN:
            return f"kept: {self.kept}"
        # What a checkpoint has is loaded after that.
        own = f"then {self.own}" if self.own is not None and self.rank[0] < OWN else ""
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
            return str(self.deferred.scheme)
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


E = TypeVar("E", bound=Entry)


def shape_text(shape: tuple[int, ...] | None) -> str:
    """A shape for a table."""
    return "lazy" if shape is None else " x ".join(map(str, shape)) or "scalar"


class ByName(Mapping[str, E]):
    """Entries by FQN, in model order; any other name of a parameter, or of what it is stored as, finds it as well."""

    entries: Mapping[str, E]

    def __getitem__(self, name: str) -> E:
        found = self.entries.get(name)
        return self.entries[self._other_names[name]] if found is None else found

    @cached_property
    def _other_names(self) -> Mapping[str, str]:
        return {name: fqn for fqn, entry in self.entries.items() for name in (*entry.stored, *entry.aliases)}

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    # Those of `Mapping` look up each name again.
    def values(self) -> ValuesView[E]:
        return self.entries.values()

    def items(self) -> ItemsView[str, E]:
        return self.entries.items()


def coverage(title: str, entries: Iterable[Entry], uncovered: Collection[str]) -> Table:
    """One row a module type: how many of its parameters are covered, and the names of those that are not."""
    rows: dict[str, list[Entry]] = {}
    for entry in entries:
        rows.setdefault(entry.layer, []).append(entry)
    lines = []
    for layer, group in sorted(rows.items()):
        missing = [entry for entry in group if entry.fqn in uncovered]
        names = ", ".join(dict.fromkeys(_last(entry.fqn) for entry in missing))
        values = f"{sum(entry.numel for entry in missing):,}" if missing else ""
        lines.append((layer, str(len(group)), str(len(missing) or ""), values, names))
    return Table(title=title, columns=("layer", "parameters", "uncovered", "values", "names"), rows=lines)


def _last(fqn: str) -> str:
    """The name of a parameter in its module; numbers in a list of parameters are not worth telling apart."""
    *above, name = fqn.split(".")
    return f"{above[-1]}.*" if name.isdigit() and above else name


def summarize(title: str, entries: Iterable[Entry]) -> Table:
    """One row a rule over some entries."""
    params: Counter[str] = Counter()
    values: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    shown: dict[str, str] = {}
    for entry in entries:
        origin = entry.origin or NO_RULE
        shown.setdefault(origin, str(entry.rule.initializer) if entry.rule else "")
        params[origin] += 1
        values[origin] += entry.numel
        for rule in entry.beat:
            shown.setdefault(rule.origin, str(rule.initializer))
            lost[rule.origin] += 1
    rows = [
        (origin, shown[origin], str(params[origin]), f"{values[origin]:,}", str(lost[origin] or ""))
        for origin in sorted(shown, key=_reading_order)
    ]
    return Table(title=title, columns=("rule", "initializer", "parameters", "values", "beaten"), rows=rows)


def _reading_order(origin: str) -> list[tuple[int, int, str]]:
    """Origins as they stand in a config: `init_cfg[2]` before `init_cfg[10]`, and no rule last."""
    if origin == NO_RULE:
        return [(2, 0, "")]
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", origin)]
