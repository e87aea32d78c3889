"""What a plan says of one parameter, and how it is shown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from ..fills import Fill
from ..rules import Rule
from ..tables import Table
from .binding import Rank

NO_RULE = "(no rule)"


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
        """What it gets, in words."""
        if self.kept:
            return f"kept: {self.kept}"
        if self.fill is not None:
            return str(self.fill)
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
        origin = entry.origin or NO_RULE
        shown.setdefault(origin, str(entry.rule.initializer) if entry.rule else "")
        params[origin] += 1
        values[origin] += torch.Size(entry.shape or (0,)).numel()
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
