"""A table of strings, as plain text or, on a terminal, through rich."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a title; prints as aligned text, and as a rich table where rich renders it.

    Example:
        >>> print(
        ...     Table(
        ...         title="Fills",
        ...         columns=("name", "fill"),
        ...         rows=(("a.weight", "Zero"), ("b", "One")),
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
        return self._colored() if sys.stdout.isatty() else self._plain()

    def _colored(self) -> str:
        from rich.console import Console

        console = Console(file=sys.stdout)
        with console.capture() as capture:
            console.print(self)
        return capture.get().rstrip("\n")

    def _plain(self) -> str:
        widths = [max(map(len, cells)) for cells in zip(self.columns, *self.rows, strict=True)]
        lines = [self.columns, tuple("-" * width for width in widths), *self.rows]
        text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join(part for part in (self.title, *text, self.caption) if part)

    def __rich__(self) -> RichTable:
        from rich import box
        from rich.markup import escape
        from rich.table import Table as RichTable

        caption = escape(self.caption) or None
        table = RichTable(title=escape(self.title), caption=caption, title_justify="left", box=box.SIMPLE_HEAD)
        shown = [index for index in range(len(self.columns)) if any(row[index] for row in self.rows)]
        for index in shown:
            table.add_column(escape(self.columns[index]), overflow="fold")
        for row in self.rows:
            table.add_row(*(escape(row[index]) for index in shown))
        return table


class Result(ABC):
    """What a user looks at: a table when it is printed, and data."""

    @abstractmethod
    def table(self) -> Table:
        """All of it, a row each."""

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
