"""A table of strings as aligned text, and results that print as one."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a title; prints as aligned text."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str = ""

    def __str__(self) -> str:
        widths = [max(map(len, cells)) for cells in zip(self.columns, *self.rows, strict=True)]
        lines = [self.columns, tuple("-" * width for width in widths), *self.rows]
        text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join(part for part in (self.title, *text, self.caption) if part)

    def __rich__(self) -> Text:
        # rich would show a dataclass by its fields, and take `[...]` in names for markup.
        from rich.text import Text

        return Text(str(self))


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


SHOWN = 20
"""Items that the text of an exception lists; what it carries has all."""


def listed(items: Iterable[object]) -> str:
    """A line for each of the first items, and how many there are more."""
    lines = [f"  {item}" for item in items]
    more = [f"  ... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join(lines[:SHOWN] + more)
