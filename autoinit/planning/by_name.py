"""Entries by FQN, and their tables: what a plan and a report have in common."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from ..tables import LONG, Result, Table
from .entries import Entry, shape_text
from .steps import Load

E = TypeVar("E", bound=Entry)

NO_RULE = "(no rule)"

CELLS: Mapping[str, Callable[[Any], str]] = {
    "parameter": lambda entry: entry.fqn,
    "shape": lambda entry: shape_text(entry.shape),
    "outcome": lambda entry: entry.outcome,
    "fill": lambda entry: entry.gets,
    "fans": lambda entry: ", ".join(map(str, entry.fans)),
    "rule": lambda entry: entry.origin,
    "beat": lambda entry: ", ".join(rule.origin for rule in entry.beat),
}
"""What the table shows of an entry, by the column's title."""


class ByName(Result, Mapping[str, E]):
    """Entries by FQN, in model order; any other name of a parameter, or of what it is stored as, finds it as well."""

    _COLUMNS: ClassVar[tuple[str, ...]]
    model: str
    entries: Mapping[str, E]
    version: int

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

    @property
    def uncovered(self) -> tuple[str, ...]:
        """FQNs of the parameters that no rule covers, or in a report nothing at all."""
        return tuple(fqn for fqn, entry in self.entries.items() if entry.is_uncovered)

    def table(self, *, full: bool = False) -> Table:
        """One row per parameter: name, shape, what it gets, the rule, and the rules that lost.

        Args:
            full: Whether to show every parameter of a large model in model order. By default parameters that differ
                only in numbers of their names share a row, and those without a rule come first.
        """
        is_long = len(self) > LONG and not full
        entries = sorted(self.entries.values(), key=lambda entry: not entry.is_uncovered) if is_long else self.values()
        table = Table(
            title=f"{type(self).__name__} of {self.model}",
            columns=self._COLUMNS,
            rows=[tuple(CELLS[title](entry) for title in self._COLUMNS) for entry in entries],
            caption=self.caption,
        )
        return table.folded() if is_long else table

    def coverage(self) -> Table:
        """One row per module type: how many of its parameters are covered, and the names of those that are not."""
        groups: dict[str, list[Entry]] = {}
        for entry in self.entries.values():
            groups.setdefault(entry.layer, []).append(entry)
        rows = []
        for layer, group in sorted(groups.items()):
            missing = [entry for entry in group if entry.is_uncovered]
            names = ", ".join(dict.fromkeys(_last(entry.fqn) for entry in missing))
            values = f"{sum(entry.numel for entry in missing):,}" if missing else ""
            rows.append((layer, str(len(group)), str(len(missing) or ""), values, names))
        columns = ("layer", "parameters", "uncovered", "values", "names")
        return Table(title=f"Coverage of {self.model}", columns=columns, rows=rows)

    def summary(self) -> Table:
        """One row per rule: how many parameters and values it fills, and how many parameters it lost to others."""
        params: Counter[str] = Counter()
        values: Counter[str] = Counter()
        lost: Counter[str] = Counter()
        initializers: dict[str, str] = {}
        for entry in self.entries.values():
            origin = entry.origin or NO_RULE
            initializers.setdefault(origin, str(entry.rule.initializer) if entry.rule else "")
            params[origin] += 1
            values[origin] += entry.numel
            for rule in entry.beat:
                initializers.setdefault(rule.origin, str(rule.initializer))
                lost[rule.origin] += 1
        rows = [
            (origin, initializers[origin], str(params[origin]), f"{values[origin]:,}", str(lost[origin] or ""))
            for origin in sorted(initializers, key=_reading_order)
        ]
        columns = ("rule", "initializer", "parameters", "values", "beaten")
        return Table(title=f"Rules of {self.model}", columns=columns, rows=rows)

    @property
    @abstractmethod
    def caption(self) -> str:
        """The totals in one line."""

    @property
    @abstractmethod
    def loads(self) -> tuple[Load, ...]:
        """The checkpoints that are loaded."""

    def to_dict(self) -> dict[str, Any]:
        """Everything as strings, numbers, lists and dicts."""
        return {
            "model": self.model,
            "version": self.version,
            "loads": [load.to_dict() for load in self.loads],
            "parameters": {fqn: entry.to_dict() for fqn, entry in self.entries.items()},
        }


def _last(fqn: str) -> str:
    """The name of a parameter in its module; the numbers in a list of parameters are one name."""
    *above, name = fqn.split(".")
    return f"{above[-1]}.*" if name.isdigit() and above else name


def _reading_order(origin: str) -> list[tuple[int, int, str]]:
    """Origins as they stand in a config: `init_cfg[2]` before `init_cfg[10]`, and no rule last."""
    if origin == NO_RULE:
        return [(2, 0, "")]
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", origin)]
