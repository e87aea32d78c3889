"""What a user looks at: a table when it is printed or shown in a notebook, and data."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .table import Table

if TYPE_CHECKING:
    from torch import nn


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

    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        model: nn.Module | None = None,
        report: Result | None = None,
        trace: Result | None = None,
        verdict: Result | None = None,
    ) -> Path:
        """Write a page to look at in a browser: one file, which needs no network.

        Args:
            path: File to write.
            model: Model whose values are drawn as histograms.
            report: Plan or report of the same model to show beside this result.
            trace: Trace of the same model to show beside it.
            verdict: Verdict on the same model to show beside it.

        Returns:
            The path.
        """
        return _page_writers[-1](path, self, model=model, report=report, trace=trace, verdict=verdict)

    def __str__(self) -> str:
        return str(self.table())

    def __rich__(self) -> Table:
        return self.table()

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        return self.table()._repr_html_()


_page_writers: list[Callable[..., Path]] = []


def set_page_writer(writer: Callable[..., Path]) -> None:
    """Let a floor above write the pages of results: `writer(path, result, **beside)`."""
    _page_writers.append(writer)
