"""The page of any result: the module tree of a model, or for a result without parameters its table."""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import Any

from ..propagation import Propagation
from ..tables import Result
from .page import write_html


def write_page(path: str | os.PathLike[str], result: Result, **beside: Any) -> Path:
    """What `Result.to_html` does."""
    if not isinstance(result, Propagation):
        return write_html(path, result, **beside)
    table = result.table(full=True)
    text = (
        f"<!doctype html>\n<meta charset='utf-8'>\n<title>{html.escape(table.title)}</title>\n{table._repr_html_()}\n"
    )
    Path(path).write_text(text, encoding="utf-8")
    return Path(path)
