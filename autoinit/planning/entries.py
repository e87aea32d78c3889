"""What a plan says of one parameter, and how it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from ..fills import Fill
from ..rules import Rule
from ..tables import Table
from .binding import Rank


@dataclass(frozen=True, kw_only=True)
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
    rank: Rank = field(default=(0, 0, 0, 0), repr=False, compare=False)

    @property
    def origin(self) -> str:
        """Where the winning rule was written, or an empty string."""
        return self.rule.origin if self.rule else ""

    @property
    def gets(self) -> str:
        """The fill in words."""
        if self.fill is not None:
            return str(self.fill)
        if self.kept:
            return f"kept: {self.kept}"
        return str(self.rule.initializer) if self.rule else ""


def shape_text(shape: tuple[int, ...] | None) -> str:
    """A shape for a table."""
    return "lazy" if shape is None else " x ".join(map(str, shape)) or "scalar"


def summarize(title: str, entries: Iterable[Entry]) -> Table:
    """One row a rule over some entries."""
    params: Counter[str] = Counter()
    values: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    shown: dict[str, str] = {}
    for entry in entries:
        origin = entry.origin or "(no rule)"
        shown.setdefault(origin, str(entry.rule.initializer) if entry.rule else "")
        params[origin] += 1
        values[origin] += torch.Size(entry.shape or (0,)).numel()
        for rule in entry.beat:
            shown.setdefault(rule.origin, str(rule.initializer))
            lost[rule.origin] += 1
    rows = [(o, text, str(params[o]), f"{values[o]:,}", str(lost[o] or "")) for o, text in shown.items()]
    return Table(title=title, columns=("rule", "initializer", "parameters", "values", "beaten"), rows=rows)
