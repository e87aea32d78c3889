"""The commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn

from .. import applying, interception, tracing, verification
from ..config import parse_config
from ..html import write_html
from ..tables import Result, listed
from .building import CommandError, build
from .checking import problems
from .converting import converted
from .main import FAILED, FOUND
from .options import Arguments, Cfg, Debug, Force, Full, Html, Json, Meta, Output, Seed, Target
from .progress import steps
from .schema import json_schema
from .writing import check_free, write_safetensors, write_text

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Weight initialization of PyTorch models: what a config does, what a model's own code does, and tests.",
)


@app.command()
def plan(
    target: Target,
    cfg: Cfg = None,
    arg: Arguments = None,
    meta: Meta = False,
    require_coverage: Annotated[
        bool, typer.Option("--require-coverage", help="exit with 1 if a parameter has no rule")
    ] = False,
    full: Full = False,
    as_json: Json = False,
    html: Html = None,
    force: Force = False,
    debug: Debug = False,
) -> int:
    """Show what a config gives each parameter.

    Nothing is written to the model. With --meta it takes no memory.
    """
    check_free(html, force)
    with steps() as step:
        step(f"building {target}")
        with _tracing(html is not None) as traced:
            model = build(target, arg, meta=meta)
        step("planning")
        planned = applying.plan(model, _text(cfg))
    _show(planned, full, as_json, html, trace=traced)
    return FOUND if require_coverage and planned.uncovered else 0


@app.command()
def trace(
    target: Target,
    cfg: Cfg = None,
    arg: Arguments = None,
    meta: Meta = False,
    to_cfg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write a config that does the same, .yaml")
    ] = None,
    full: Full = False,
    as_json: Json = False,
    html: Html = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Show which calls initialize each parameter.

    For each call: function, numbers, file and line. With --cfg the model is built in a block of autoinit.
    """
    check_free(html, force)
    check_free(to_cfg, force)
    with steps() as step:
        step(f"building {target}")
        with tracing.trace() as traced, interception.autoinit(_text(cfg)) if cfg is not None else nullcontext():
            model = build(target, arg, meta=meta)
        found = _of(model, traced.traces)
        if to_cfg is not None:
            step("searching for the shortest config")
            write_text(to_cfg, found.to_yaml())
    _show(found, full, as_json, html, model=model)


@app.command()
def init(
    target: Target,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="the .safetensors file to write")],
    cfg: Cfg = None,
    arg: Arguments = None,
    seed: Seed = None,
    full: Full = False,
    as_json: Json = False,
    html: Html = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Build and initialize a model, and write its weights.

    The file is in the .safetensors format, and is written whole or not at all. The same seed gives the same file.
    """
    check_free(output, force)
    check_free(html, force)
    _seed(seed)
    with steps() as step:
        step(f"building {target}")
        with _tracing(html is not None) as traced, interception.autoinit(_text(cfg), seed=seed) as block:
            model = build(target, arg)
            step("filling")
        step(f"writing {output}")
        write_safetensors(output, model)
    _show(_of(model, block.reports), full, as_json, html, model=model, trace=traced)


@app.command()
def verify(
    target: Target,
    cfg: Cfg = None,
    arg: Arguments = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="checkpoint to load into the model first")
    ] = None,
    alpha: Annotated[float, typer.Option(metavar="P", help="false-alarm rate of the whole model")] = 1e-3,
    seed: Seed = None,
    full: Full = False,
    as_json: Json = False,
    html: Html = None,
    force: Force = False,
    debug: Debug = False,
) -> int:
    """Test whether weights are what a config asks for.

    Exits with 1 if they are not. Without a config the weights are searched for NaN, infinities and outliers.
    """
    check_free(html, force)
    _seed(seed)
    with steps() as step:
        step(f"building {target}")
        with _tracing(html is not None) as traced:
            model = build(target, arg)
        if weights is not None:
            step(f"loading {weights}")
            applying.initialize(model, dict(type="Pretrained", checkpoint=str(weights), strict=True))
        step("testing")
        planned = applying.plan(model, _text(cfg))
        verdict = verification.verify(model, planned, alpha=alpha)
    _show(verdict, full, as_json, html, model=model, report=planned, trace=traced)
    if verdict.failures and not as_json:
        typer.echo(listed(verdict.failures))
    return 0 if verdict.ok else FOUND


@app.command()
def convert(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="an OpenMMLab config, .py, .json or .yaml")],
    output: Output = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Collect OpenMMLab's init_cfgs in one config.

    Each rule gets the name of the module whose init_cfg it is from.
    """
    check_free(output, force)
    _print_or_write(converted(config), output)


@app.command()
def check(
    configs: Annotated[list[Path], typer.Argument(metavar="CONFIG...", help="config files")],
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Check config files: all errors at once.

    Each has its file, line and column. Exits with 2 if there is one.
    """
    found = [problem for config in configs for problem in problems(config)]
    if as_json:
        typer.echo(json.dumps([problem.to_dict() for problem in found], indent=2))
    else:
        for problem in found:
            typer.echo(str(problem))
        rules = sum(len(parse_config(str(config))) for config in configs) if not found else 0
        typer.echo(f"{len(found)} errors" if found else f"ok, {rules} rules")
    return FAILED if found else 0


@app.command()
def schema(output: Output = None, force: Force = False, debug: Debug = False) -> None:
    """Print the JSON Schema of configs.

    Editors complete and check a config by it: `# yaml-language-server: $schema=FILE` in its first line.
    """
    check_free(output, force)
    _print_or_write(json.dumps(json_schema(), indent=2) + "\n", output)


def _text(cfg: Path | None) -> str | None:
    return None if cfg is None else str(cfg)


def _seed(seed: int | None) -> None:
    """Seed torch, so that weights that no rule covers are the same as well."""
    if seed is not None:
        torch.manual_seed(seed)


def _tracing(wanted: bool) -> Any:
    return tracing.trace() if wanted else nullcontext()


def _of(model: nn.Module, results: Sequence[Any]) -> Any:
    """The report or trace of a model, where a target built several."""
    names = {name for name, _ in model.named_parameters()}
    for result in results:
        if result.model == type(model).__name__ and len(names) == len(result):
            return result
    raise CommandError(
        f"The target returned a {type(model).__name__} that it did not build: {len(results)} other models were built. "
        "Name a function that builds the model each time it is called."
    )


def _show(result: Result, full: bool, as_json: bool, html: Path | None, trace: Any = None, **others: Any) -> None:
    if html is not None:
        traced = None if trace is None else _of(others["model"], trace.traces)
        write_html(html, result, trace=traced, **others)
        typer.echo(f"wrote {html}", err=True)
    typer.echo(result.to_json(indent=2) if as_json else str(result.table(full=full)))


def _print_or_write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)
