"""A table of strings as aligned text that fits a terminal."""

from __future__ import annotations

import html
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, product, zip_longest
from typing import TYPE_CHECKING, TextIO

from .folding import folded, range_text, split_names

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

LONG = 24
"""Rows from which on a table is folded."""
READABLE, NARROWEST = ((40, 3), (20, None), (15, None)), 9
"""Characters that a column keeps on a narrow terminal, and how many optional columns may be left out for that."""
COUNT = "count"
"""Title of the column that says how many rows a folded one stands for: the first that is left out."""
Column = tuple[str, ...]
"""A title and its cells."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a title; prints as aligned text.

    Empty columns are left out. On a terminal that is too narrow, folded names are written under a line with their
    prefix, up to three optional columns are left out, then columns other than the first are shortened, and at last long
    names get a line of their own.

    Args:
        title: first line.
        columns: titles of the columns; the first column holds names, which are never shortened.
        rows: one string per column.
        caption: last line.
        optional: titles of the columns that a narrow terminal may leave out, the least important first.
        whole: titles of the columns whose cells are broken between words instead of shortened.

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
    optional: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text(terminal_width(sys.stdout))

    def text(self, width: int | None = None) -> str:
        """The table as text.

        Args:
            width: Maximum line length in characters; None for no limit.
        """
        prefixes, columns = self._layout([tuple(map(printable, column)) for column in self._used()], width)
        widths = _fitted([(max(map(len, column)), self._least(column, NARROWEST)) for column in columns], width)
        cells = [self._cells(column, most) for column, most in zip(columns, widths, strict=True)]
        head, *rows = [
            ["  ".join(map(str.ljust, line, widths)).rstrip() for line in zip_longest(*row, fillvalue="")]
            for row in zip(*cells, strict=True)
        ]
        lines = [printable(self.title), *head, "  ".join("-" * most for most in widths)]
        for prefix, row in zip(prefixes, rows, strict=True):
            lines += [prefix, *row] if prefix else row
        return "\n".join(filter(None, [*lines, *(wrapped(line, width) for line in self.caption.split("\n"))]))

    def _least(self, column: Column, readable: int) -> int:
        """Characters that a column keeps on a narrow terminal."""
        words = [word for cell in column for word in cell.split(" ")] if column[0] in self.whole else []
        return max([readable, *map(len, words)])

    def _cells(self, column: Column, most: int) -> list[list[str]]:
        """The lines of each cell of a column."""
        if column[0] not in self.whole:
            return [[_shortened(cell, most)] for cell in column]
        return [textwrap.wrap(cell, most, break_long_words=False, break_on_hyphens=False) or [""] for cell in column]

    def _narrow(self, columns: Sequence[Column], readable: int) -> int:
        """Characters of a row whose columns other than the first are shortened while they can still be read."""
        first, *others = columns
        widths = [min(max(map(len, column)), self._least(column, readable)) for column in others]
        return max(map(len, first)) + sum(widths) + 2 * len(widths)

    def _used(self) -> list[Column]:
        """The columns without those that are empty."""
        return [column for column in zip(self.columns, *self.rows, strict=True) if any(column[1:]) or not self.rows]

    def _layout(self, columns: list[Column], width: int | None) -> tuple[Sequence[str], list[Column]]:
        """The lines to write above rows, and the columns to show: the first choice that fits."""
        unchanged = [""] * len(self.rows), columns
        prefixes, names = split_names(columns[0])
        split = prefixes, [names, *columns[1:]]
        layouts = [unchanged, split] if sum(map(bool, prefixes)) + len(self.rows) <= LONG else [unchanged]
        optional = (COUNT, *self.optional)
        for readable, droppable in READABLE:
            counts = range(len(optional[:droppable]) + 1)
            subsets = chain.from_iterable(combinations(optional[:droppable], count) for count in counts)
            for without, (above, chosen) in product(subsets, layouts):
                shown = [column for column in chosen if column[0] not in without]
                if width is None or self._narrow(shown, readable) <= width:
                    return above, shown
        shown = [column for column in split[1] if column[0] not in optional]
        return _above(prefixes, shown, (width or 0) - self._narrow([("",), *shown[1:]], READABLE[-1][0]))

    def folded(self, ranges: Collection[str] = ()) -> Table:
        """The table with rows that differ only in numbers of their names as one, and how many each stands for.

        Args:
            ranges: titles of columns of numbers in which the rows may differ: the lowest and the highest are shown.

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
        shared = [at for at, title in enumerate(self.columns) if at and title not in ranges]
        rows = []
        for name, members in folded([(row[0], *(row[at] for at in shared)) for row in self.rows]):
            columns = list(zip(*(self.rows[member] for member in members), strict=True))[1:]
            cells = [cells[0] if at in shared else range_text(cells) for at, cells in enumerate(columns, 1)]
            rows.append((name, *cells, f"x{len(members)}" if len(members) > 1 else ""))
        return replace(self, columns=(*self.columns, COUNT), rows=rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        # rich would show a dataclass by its fields, and take `[...]` in names for markup.
        from rich.text import Text

        yield Text(self.text(options.max_width))

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        columns, *rows = zip(*self._used(), strict=True)
        body = "".join(_html_row("td", row) for row in rows)
        title, *lines = (html.escape(printable(line)) for line in (self.title, *self.caption.split("\n")))
        return (
            f"<table><caption style='text-align:left'><b>{title}</b><br>{'<br>'.join(lines)}</caption>"
            f"<thead>{_html_row('th', columns)}</thead><tbody>{body}</tbody></table>"
        )


def terminal_width(stream: TextIO | None) -> int | None:
    """Characters of a line of the terminal that a stream writes to; None for a file or a pipe."""
    return shutil.get_terminal_size().columns if stream is not None and stream.isatty() else None


def printable(text: str) -> str:
    r"""A text for one line of a terminal: characters that would move the cursor or change colors are escaped.

    Example:
        >>> print(printable("a\x1b[31mb"))
        a\x1b[31mb
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def wrapped(line: str, width: int | None) -> str:
    """A line broken between words."""
    if width is None or len(line) <= width:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _above(prefixes: Sequence[str], columns: list[Column], room: int) -> tuple[Sequence[str], list[Column]]:
    """Names that leave no room for the other columns on a line of their own, above their rows."""
    title, *names = columns[0]
    long = [len(name) > room for name in names]
    shown = ["" if is_long else name for name, is_long in zip(names, long, strict=True)]
    lines = [(prefix, name if is_long else "") for prefix, name, is_long in zip(prefixes, names, long, strict=True)]
    return ["\n".join(filter(None, line)) for line in lines], [(title, *shown), *columns[1:]]


def _fitted(columns: Sequence[tuple[int, int]], most: int | None) -> list[int]:
    """Widths of columns, each with its least, for a line of so many characters: the widest but the first give way."""
    widths, spare = [width for width, _ in columns], len(columns) * 2 - 2
    while most is not None and sum(widths) + spare > most:
        excess = [index for index, (_, least) in enumerate(columns) if index and widths[index] > least]
        if not excess:
            break
        widths[max(excess, key=widths.__getitem__)] -= 1
    return widths


def _shortened(cell: str, most: int) -> str:
    """A text without its middle: its ends say more."""
    return cell if len(cell) <= most else f"{cell[: most // 2]}…{cell[len(cell) - (most - 1) // 2 :]}"


def _html_row(tag: str, cells: Iterable[str]) -> str:
    style = "text-align:left;padding-right:1em"
    shown = [
        f"<{tag} style='{style}{';white-space:nowrap' if len(cell) <= READABLE[0][0] else ''}'>"
        f"{html.escape(printable(cell))}</{tag}>"
        for cell in cells
    ]
    return f"<tr>{''.join(shown)}</tr>"
