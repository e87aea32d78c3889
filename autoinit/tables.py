"""A table of strings as aligned text, and results that print as one."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

LONG = 24
"""Rows from which on a table is folded."""
NARROWEST = 9
"""Characters that a column keeps on a narrow terminal."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a title; prints as aligned text.

    Empty columns are left out. On a terminal, columns other than the first are shortened until a row fits.

    Args:
        title: first line.
        columns: titles of the columns; the first column holds names, which are never shortened.
        rows: one string per column.
        caption: last line.

    Example:
        >>> print(
        ...     Table(
        ...         title="Fills",
        ...         columns=("name", "fill", "note"),
        ...         rows=(("a.weight", "Zero", ""), ("b", "One", "")),
        ...     )
        ... )
        Fills
        name      fill
        --------  ----
        a.weight  Zero
        b         One
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str = ""

    def __str__(self) -> str:
        return self.text(shutil.get_terminal_size().columns if sys.stdout.isatty() else None)

    def text(self, width: int | None = None) -> str:
        """The table as text.

        Args:
            width: characters of a line; None for as many as it takes.
        """
        every = zip(self.columns, *self.rows, strict=True)
        columns = [[*map(printable, column)] for column in every if any(column[1:]) or not self.rows]
        widths = _fitted([max(map(len, column)) for column in columns], width)
        cells = [[_shortened(cell, most) for cell in column] for column, most in zip(columns, widths, strict=True)]
        head, *rows = zip(*cells, strict=True)
        lines = [head, tuple("-" * most for most in widths), *rows]
        text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join(part for part in (self.title, *text, self.caption) if part)

    def folded(self) -> Table:
        """The table with rows that differ only in numbers of their names as one, and how many each stands for.

        Example:
            >>> rows = [(f"layers.{index}.weight", "2 x 2") for index in range(12)]
            >>> print(
            ...     Table(
            ...         title="Shapes", columns=("name", "shape"), rows=[*rows, ("head", "2")]
            ...     ).folded()
            ... )
            Shapes
            name                   shape  count
            ---------------------  -----  -----
            layers.{0..11}.weight  2 x 2  x12
            head                   2
        """
        rows = [(name, *cells, f"x{count}" if count > 1 else "") for name, cells, count in _folded(self.rows)]
        return Table(title=self.title, columns=(*self.columns, "count"), rows=rows, caption=self.caption)

    def __rich__(self) -> Text:
        # rich would show a dataclass by its fields, and take `[...]` in names for markup.
        from rich.text import Text

        return Text(str(self))

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        body = "".join(_html_row("td", row) for row in self.rows)
        return (
            f"<table><caption>{html.escape(self.title)}<br>{html.escape(self.caption)}</caption>"
            f"<thead>{_html_row('th', self.columns)}</thead><tbody>{body}</tbody></table>"
        )


class Result(ABC):
    """What a user looks at: a table when it is printed or shown in a notebook, and data."""

    @abstractmethod
    def table(self, *, full: bool = False) -> Table:
        """One row per item; in a long table, rows that differ only in numbers of their names are one, unless `full`."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Everything as strings, numbers, lists and dicts."""

    def to_json(self, **options: Any) -> str:
        """`to_dict()` as JSON; options go to `json.dumps`."""
        return json.dumps(self.to_dict(), **options)

    def __str__(self) -> str:
        return str(self.table())

    def __rich__(self) -> Table:
        return self.table()

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        return self.table()._repr_html_()


NUMBER = re.compile(r"(?<!\d)(?:0|[1-9]\d*)(?!\d)")
"""A number in a name; `01` is text."""
Folded = tuple[str, tuple[str, ...], int]


def _folded(rows: Iterable[Sequence[str]]) -> list[Folded]:
    """Name, other cells and count of each group of rows, in the order of their first rows.

    The numbers in a name are merged one position after the other, the last first, so that a group is always all
    combinations of the numbers that its name shows.
    """
    groups: dict[Any, None] = dict.fromkeys(
        (tuple(NUMBER.split(name)), tuple(frozenset([int(n)]) for n in NUMBER.findall(name)), tuple(cells))
        for name, *cells in rows
    )
    for back in range(1, 1 + max((len(numbers) for _, numbers, _ in groups), default=0)):
        merged: dict[Any, frozenset[int]] = {}
        for texts, numbers, cells in groups:
            at = len(numbers) - back
            key = (texts, cells, numbers[:at], numbers[at + 1 :], at) if at >= 0 else (texts, cells, numbers, (), None)
            merged[key] = merged.get(key, frozenset()).union(numbers[at] if at >= 0 else ())
        groups = dict.fromkeys(
            (texts, before if at is None else (*before, found, *after), cells)
            for (texts, cells, before, after, at), found in merged.items()
        )
    return [(_joined(texts, numbers), cells, math.prod(map(len, numbers))) for texts, numbers, cells in groups]


def _joined(texts: Sequence[str], numbers: Sequence[frozenset[int]]) -> str:
    return texts[0] + "".join(_shown(found) + text for found, text in zip(numbers, texts[1:], strict=True))


def _shown(found: frozenset[int]) -> str:
    """Numbers in braces, those that follow each other as a range: `{0..4,6}`."""
    ordered = sorted(found)
    if len(ordered) == 1:
        return str(ordered[0])
    # Within a run of consecutive numbers, number minus index stays the same.
    runs = [[n for _, n in run] for _, run in groupby(enumerate(ordered), key=lambda pair: pair[1] - pair[0])]
    shown = [f"{run[0]}..{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs]
    return "{" + ",".join(shown) + "}"


def _fitted(widths: list[int], most: int | None) -> list[int]:
    """Widths of columns for a line of at most so many characters: the widest but the first give way."""
    spare = len(widths) * 2 - 2
    while most is not None and len(widths) > 1 and sum(widths) + spare > most and max(widths[1:]) > NARROWEST:
        widest = max(range(1, len(widths)), key=widths.__getitem__)
        widths = [width - (index == widest) for index, width in enumerate(widths)]
    return widths


def printable(text: str) -> str:
    r"""A text for one line of a terminal: characters that would move the cursor or change colors are escaped.

    Example:
        >>> print(printable("a" + chr(27) + "[31mb"))
        a\x1b[31mb
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _shortened(cell: str, most: int) -> str:
    return cell if len(cell) <= most else cell[: most - 1] + "…"


def _html_row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag} style='text-align:left'>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


SHOWN = 20
"""Items that the text of an exception lists; what it carries has all."""


def listed(items: Iterable[object]) -> str:
    """A line for each of the first items, and how many there are more.

    Example:
        >>> print(listed(["fc.weight: no rule"]))
          fc.weight: no rule
    """
    lines = [f"  {item}" for item in items]
    more = [f"  ... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join(lines[:SHOWN] + more)
