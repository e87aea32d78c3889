"""What a user looks at: a table when it is printed or shown in a notebook, and data."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

from .table import Table


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
