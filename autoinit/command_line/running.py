"""What several commands do before and after their own work."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import typer
from torch import nn

from .. import tracing
from ..html import write_html
from ..tables import Result
from .target_errors import CommandError
from .writing import write_text


def text_of(cfg: Path | None) -> str | None:
    """The path of a config, as `plan` and `autoinit` take it."""
    return None if cfg is None else str(cfg)


def seed_torch(seed: int | None) -> None:
    """Seed torch as well, so that weights that no rule covers depend on the seed too."""
    if seed is not None:
        torch.manual_seed(seed)


def tracing_for(html: Path | None) -> AbstractContextManager[tracing.TraceBlock | None]:
    """A trace for the page, if one is written."""
    return nullcontext() if html is None else tracing.trace()


def trace_of(model: nn.Module, block: tracing.TraceBlock | None) -> tracing.Trace | None:
    """The trace of a model, if there is one."""
    found: tracing.Trace | None = None if block is None else one_of(model, block.traces)
    return found


def one_of(model: nn.Module, results: Sequence[Any]) -> Any:
    """The report or trace of a model, where a target built several models.

    Raises:
        CommandError: The target built none like it.
    """
    of_class = [result for result in results if result.model == type(model).__name__]
    if of_class or len(results) == 1:
        return (of_class or results)[-1]
    built = ", ".join(result.model for result in results) or "no model that still exists"
    raise CommandError(
        f"The target returned a {type(model).__name__} and built {built}. Name a function that builds its model anew."
    )


def show(result: Result, full: bool, as_json: bool, html: Path | None, **beside: Any) -> None:
    """Print a result, and write its page with what is shown beside it."""
    if html is not None:
        write_html(html, result, **beside)
        typer.echo(f"wrote {html}", err=True)
    if as_json:
        typer.echo(result.to_json(indent=2))
    else:
        typer.echo(str(result.table(full=True) if full else result))


def print_or_write(text: str, output: Path | None) -> None:
    """Print a text, or write it to a file."""
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)
