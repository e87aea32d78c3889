"""Entries by FQN, and their tables: what a plan and a report have in common."""

from __future__ import annotations

import math
import os
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..figures import NAMED, new_figure
from ..tables import LONG, Result, Table
from . import cells
from .entries import Entry
from .steps import Load

if TYPE_CHECKING:
    from matplotlib.figure import Figure

E = TypeVar("E", bound=Entry)

OPTIONAL = ("fans", "shape", "overrides")
"""Columns that a narrow terminal may leave out."""


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
            full: Whether to show every parameter of a large model, in model order. By default parameters that differ
                only in numbers of their names share a row, and those come first that no rule covers, that are pending
                or that are kept. If the rows are still many, they have no shapes, and then initializers for fills.
        """
        if full or len(self) <= LONG:
            return self._table({title: cells.ALL[title] for title in self._COLUMNS}, self.values())
        entries = sorted(self.values(), key=cells.urgency)
        tables: list[Table] = []
        for columns in cells.folded(self._COLUMNS[2]):
            tables.append(self._table(columns, entries).folded())
            if len(tables[-1].rows) <= LONG:
                break
        return min(tables, key=lambda table: len(table.rows))

    def _table(self, columns: cells.Cells, entries: Iterable[E]) -> Table:
        entries = list(entries)
        file = cells.file_of_rules(entries)
        shown = [{title: cell(entry) for title, cell in columns.items()} for entry in entries]
        for row in shown if file else ():
            row.update({title: row[title].replace(f"{file}: ", "") for title in ("rule", "overrides")})
        return Table(
            title=f"{type(self).__name__} of {self.model}{f' by {file}' if file else ''}",
            columns=tuple(columns),
            rows=[tuple(row.values()) for row in shown],
            caption=self.caption,
            optional=OPTIONAL,
        )

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Plot the std that each parameter gets, in model order, and mark the parameters that no rule covers.

        Args:
            path: File to write; its suffix is the format: `.svg`, `.png`, `.pdf`. None writes no file.

        Returns:
            The figure of matplotlib.

        Raises:
            StateError: matplotlib is not installed.
        """
        entries = list(self.values())
        points: dict[str, list[tuple[int, float]]] = {}
        for at, entry in enumerate(entries):
            std = getattr(entry.fill, "std", None)
            if isinstance(std, (int, float)) and std > 0 and math.isfinite(std):
                label = f"{entry.origin}: {entry.rule.initializer}" if entry.rule else ""
                points.setdefault(label, []).append((at, float(std)))
        with new_figure(path, len(entries), 5.0) as figure:
            axes = figure.subplots()
            for label, found in points.items():
                axes.plot(*zip(*found, strict=True), marker="o", markersize=3, linestyle="none", label=label)
            if uncovered := [at for at, entry in enumerate(entries) if entry.is_uncovered]:
                # At the lower edge, whatever the scale is.
                style: dict[str, Any] = dict(transform=axes.get_xaxis_transform(), marker="|", linestyle="none")
                axes.plot(uncovered, [0.02] * len(uncovered), label=cells.NO_RULE, color="grey", **style)
            axes.set(ylabel="std that was asked for", yscale="log" if points else "linear")
            ticks = range(0, len(entries), -(-len(entries) // NAMED) or 1)
            axes.set_xticks(ticks, [entries[at].fqn for at in ticks], rotation=90, fontsize=7)
            axes.grid(which="major", alpha=0.25)
            if points or uncovered:
                axes.legend(fontsize=8)
            figure.suptitle(f"{self.model}: {self.caption}", fontsize=9)
        return figure

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
            origin = entry.origin or cells.NO_RULE
            initializers.setdefault(origin, str(entry.rule.initializer) if entry.rule else "")
            params[origin] += 1
            values[origin] += entry.numel
            for rule in entry.overrides:
                initializers.setdefault(rule.origin, str(rule.initializer))
                lost[rule.origin] += 1
        rows = [
            (origin, initializers[origin], str(params[origin]), f"{values[origin]:,}", str(lost[origin] or ""))
            for origin in sorted(initializers, key=_reading_order)
        ]
        columns = ("rule", "initializer", "parameters", "values", "overridden")
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
    if origin == cells.NO_RULE:
        return [(2, 0, "")]
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", origin)]
