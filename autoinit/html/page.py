"""One self-contained HTML file: no request to a network, and names are never read as markup."""

from __future__ import annotations

import json
import os
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from torch import nn

from ..propagation import Propagation
from .page_data import parameters
from .whole_file import write_whole

if TYPE_CHECKING:
    from ..planning import Plan, Report
    from ..tables import Result, Table
    from ..verification import Verdict


SCRIPTS = ("detail.js", "page.js")


def write_html(
    path: str | os.PathLike[str],
    result: Result,
    *,
    model: nn.Module | None = None,
    report: Plan | Report | None = None,
    trace: Result | None = None,
    verdict: Verdict | None = None,
) -> Path:
    """Write a page about a model: its module tree, and for each parameter everything that the results know.

    Args:
        path: File to write, in one step.
        result: Plan, report, trace, verdict, difference or propagation.
        model: Model whose values are drawn as histograms, and whose std is shown by depth.
        report: Plan or report to show beside a trace or verdict.
        trace: Trace to show beside another result: calls with their source lines.
        verdict: Verdict to show beside another result.

    Returns:
        The path.

    Example:
        >>> import tempfile
        >>> from autoinit import plan
        >>> planned = plan(nn.Linear(2, 2), dict(type="Normal", layer="Linear", std=0.02))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_html(f"{folder}/report.html", planned).name
        'report.html'
    """
    if isinstance(result, Propagation):
        text = _table_page(result.table(full=True))
    else:
        table = result.table()
        rows = parameters(result, report, trace, verdict, model=model)
        data = {"title": table.title, "caption": table.caption.partition("\n")[0], "parameters": rows, "repeated": []}
        _share(data, ("histogram", "calls"))
        text = page(table.title, data)
    target = Path(path)
    write_whole(target, lambda partial: partial.write_text(text, encoding="utf-8"))
    return target


def _table_page(table: Table) -> str:
    """The page of a result without parameters."""
    return f"<!doctype html>\n<meta charset='utf-8'>\n<title>{escape(table.title)}</title>\n{table._repr_html_()}\n"


def _share(data: dict[str, Any], keys: tuple[str, ...]) -> None:
    """Store what several parameters have alike once: a page about 100,000 parameters is short then."""
    places: dict[str, int] = {}
    for row in data["parameters"]:
        for key in keys:
            if key in row:
                text = json.dumps(row[key])
                if text not in places:
                    places[text] = len(places)
                    data["repeated"].append(row[key])
                row[key] = places[text]


def page(title: str, data: dict[str, Any]) -> str:
    """The text of the page.

    Example:
        >>> "</script><b>" in page("<b>", {"parameters": [{"fqn": "</script><b>"}]})
        False
    """
    folder = files(__package__)
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    # The only text that ends a script element; the others keep the file readable by XML tools.
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Template(folder.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        style=folder.joinpath("page.css").read_text(encoding="utf-8"),
        script="\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS),
        data=safe,
    )
