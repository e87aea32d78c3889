"""One self-contained HTML file: no request to a network, and names are never read as markup."""

from __future__ import annotations

import json
import os
import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from torch import nn

from .page_data import parameters

if TYPE_CHECKING:
    from ..planning import Plan, Report
    from ..tables import Result
    from ..verification import Verdict


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
        path: file to write, in one step.
        result: a plan, report, trace or verdict.
        model: model whose values are drawn as histograms, and whose std is shown by depth.
        report: plan or report to show beside a trace or verdict.
        trace: trace to show beside it: calls with their source lines.
        verdict: verdict to show beside it.

    Returns:
        The path.
    """
    title = str(result.table().title)
    data = {
        "title": title,
        "caption": result.table().caption,
        "parameters": parameters(result, report, trace, verdict, model=model),
    }
    target = Path(path)
    number, partial = tempfile.mkstemp(dir=target.absolute().parent, suffix=".html")
    try:
        with open(number, "w", encoding="utf-8") as file:
            file.write(page(title, data))
        os.replace(partial, target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return target


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
        title=title.replace("&", "&amp;").replace("<", "&lt;"),
        style=folder.joinpath("page.css").read_text(encoding="utf-8"),
        script=folder.joinpath("page.js").read_text(encoding="utf-8"),
        data=safe,
    )
