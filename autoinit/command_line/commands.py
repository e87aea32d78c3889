"""The commands and their options."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import applying, interception, verification
from ..config import parse_config
from ..html import write_html
from ..tables import Result
from .building import build
from .checking import problems
from .converting import converted
from .main import FAILED, FOUND
from .schema import json_schema
from .writing import check_free, write_safetensors, write_text

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Weight initialization of PyTorch models: what a config does, what a model's own code does, and proof.",
)

Target = Annotated[str, typer.Argument(help="package.module:callable or file.py:callable that builds a model")]
Arguments = Annotated[
    list[str] | None, typer.Option("--arg", metavar="NAME=VALUE", help="argument of the callable, as YAML")
]
Cfg = Annotated[Path | None, typer.Option("--cfg", help="config file: .yaml, .json or .toml")]
NeededCfg = Annotated[Path, typer.Option("--cfg", help="config file: .yaml, .json or .toml")]
Seed = Annotated[int | None, typer.Option(help="seed of the values")]
Meta = Annotated[bool, typer.Option("--meta", help="build on the meta device: shapes without memory")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="also write a report to look at in a browser")
]
Full = Annotated[bool, typer.Option("--full", help="one row per parameter, nothing folded")]
Force = Annotated[bool, typer.Option("--force", help="replace files that exist")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]


@app.command()
def plan(
    target: Target,
    cfg: NeededCfg,
    arg: Arguments = None,
    meta: Meta = False,
    require_coverage: Annotated[bool, typer.Option(help="exit with 1 if a parameter has no rule")] = False,
    full: Full = False,
    as_json: Json = False,
    html: Html = None,
    force: Force = False,
    debug: Debug = False,
) -> int:
    """Show what a config would give each parameter, without writing to any."""
    check_free(html, force)
    planned = applying.plan(build(target, arg, meta=meta), cfg)
    _show(planned, full, as_json, html)
    return FOUND if require_coverage and planned.uncovered else 0


@app.command()
def init(
    target: Target,
    output: Annotated[Path, typer.Option("--output", "-o", help="the .safetensors file to write")],
    cfg: NeededCfg,
    arg: Arguments = None,
    seed: Seed = None,
    full: Full = False,
    as_json: Json = False,
    html: Html = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Build a model, initialize it, and write its weights to a .safetensors file."""
    check_free(output, force)
    check_free(html, force)
    with _steps() as step:
        step("building and initializing")
        with interception.autoinit(str(cfg), seed=seed) as block:
            model = build(target, arg)
        step(f"writing {output}")
        write_safetensors(output, model)
    _show(block.report, full, as_json, html)


@app.command()
def verify(
    target: Target,
    cfg: NeededCfg,
    arg: Arguments = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="checkpoint to load into the model first")
    ] = None,
    alpha: Annotated[float, typer.Option(help="false-alarm rate of the whole model")] = 1e-3,
    as_json: Json = False,
    html: Html = None,
    force: Force = False,
    debug: Debug = False,
) -> int:
    """Test whether the weights of a model have the distributions that a config asks for; exit with 1 if not."""
    check_free(html, force)
    model = build(target, arg)
    if weights is not None:
        applying.initialize(model, dict(type="Pretrained", checkpoint=str(weights), strict=True))
    verdict = verification.verify(model, cfg, alpha=alpha)
    _show(verdict, False, as_json, html)
    return 0 if verdict.ok else FOUND


@app.command()
def convert(
    config: Annotated[Path, typer.Argument(help="an OpenMMLab config, .py, .json or .yaml")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the .yaml file to write")] = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Collect the init_cfgs of an OpenMMLab config in one file for autoinit."""
    check_free(output, force)
    text = converted(config)
    typer.echo(text, nl=False) if output is None else write_text(output, text)


@app.command()
def check(
    configs: Annotated[list[Path], typer.Argument(help="config files")], as_json: Json = False, debug: Debug = False
) -> int:
    """Check config files: every error at once, with file, line and column."""
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
def schema(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the file to write")] = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Print the JSON Schema of configs, from which editors complete and check them."""
    check_free(output, force)
    text = json.dumps(json_schema(), indent=2) + "\n"
    typer.echo(text, nl=False) if output is None else write_text(output, text)


def _show(result: Result, full: bool, as_json: bool, html: Path | None) -> None:
    if html is not None:
        write_html(html, result)
    typer.echo(result.to_json(indent=2) if as_json else str(result.table(full=full)))


@contextmanager
def _steps() -> Iterator[Any]:
    """A line on the terminal that says what is being done; nothing where stderr is not one."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("") as status:
        yield lambda text: status.update(text)
