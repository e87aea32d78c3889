"""The commands."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from .. import applying, interception, tracing, verification
from ..config import parse_config
from ..tables import terminal_width, wrapped
from .building import builder
from .checking import problems
from .comparing import loaded_or_made, pairs
from .converting import converted
from .main import FAILED, FOUND
from .options import Arguments, Cfg, Debug, Force, Full, Html, Json, Meta, Output, Seed, Target
from .progress import steps
from .running import one_of, print_or_write, seed_torch, show, text_of, trace_of, tracing_for
from .schema import json_schema
from .writing import check_free, check_numpy, write_safetensors, write_text

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
    with steps(2) as step:
        step(f"building {target}")
        build = builder(target, arg, meta=meta)
        with tracing_for(html) as traced:
            model = build()
        step("planning")
        planned = applying.plan(model, text_of(cfg))
    show(planned, full, as_json, html, trace=trace_of(model, traced))
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
    with steps(2 if to_cfg is not None else 1) as step:
        step(f"building {target}")
        build = builder(target, arg, meta=meta)
        with tracing.trace() as traced, interception.autoinit(text_of(cfg)) if cfg is not None else nullcontext():
            model = build()
        found = one_of(model, traced.traces)
        if to_cfg is not None:
            step("searching for the shortest config")
            write_text(to_cfg, found.to_yaml())
    show(found, full, as_json, html, model=model)


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
    check_numpy()
    check_free(output, force)
    check_free(html, force)
    seed_torch(seed)
    with steps(3) as step:
        step(f"building {target}")
        build = builder(target, arg)
        with tracing_for(html) as traced, interception.autoinit(text_of(cfg), seed=seed) as block:
            model = build()
            step("filling")
        report = one_of(model, block.reports)
        step(f"writing {output}")
        write_safetensors(output, model)
    typer.echo(f"wrote {output}", err=True)
    show(report, full, as_json, html, model=model, trace=trace_of(model, traced))


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
    seed_torch(seed)
    with steps(3 if weights is not None else 2) as step:
        step(f"building {target}")
        build = builder(target, arg)
        with tracing_for(html) as traced:
            model = build()
        if weights is not None:
            step(f"loading {weights}")
            applying.initialize(model, dict(type="Pretrained", checkpoint=str(weights), strict=True))
        step("testing")
        planned = applying.plan(model, text_of(cfg))
        verdict = verification.verify(model, planned, alpha=alpha)
    show(verdict, full, as_json, html, model=model, report=planned, trace=trace_of(model, traced))
    return 0 if verdict.ok else FOUND


@app.command()
def diff(
    ends: Annotated[
        list[str], typer.Argument(metavar="TARGET...", help="one target with two --cfg, or two targets or .json files")
    ],
    cfg: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="config; twice, to compare two")] = None,
    arg: Arguments = None,
    meta: Meta = False,
    full: Full = False,
    as_json: Json = False,
    html: Html = None,
    force: Force = False,
    debug: Debug = False,
) -> int:
    """Compare two configs, models or saved results.

    Exits with 1 if they differ. With --cfg plans are compared, without it the calls of the models' own code. A .json
    file is what `plan`, `trace` or `init` printed with --json.
    """
    check_free(html, force)
    with steps(2) as step:
        first, second = (loaded_or_made(*pair, arg, meta=meta, step=step) for pair in pairs(ends, cfg or []))
    difference = tracing.diff(first, second)
    if difference or as_json or html:
        show(difference, full, as_json, html)
    else:
        typer.echo(difference.caption)
    return FOUND if difference else 0


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
    print_or_write(converted(config), output)


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
            typer.echo(wrapped(str(problem), terminal_width(sys.stdout)))
        rules = sum(len(parse_config(str(config))) for config in configs) if not found else 0
        number, what = (len(found), "error") if found else (rules, "rule")
        typer.echo(f"{'' if found else 'ok, '}{number} {what}{'s' if number != 1 else ''}")
    return FAILED if found else 0


@app.command()
def schema(output: Output = None, force: Force = False, debug: Debug = False) -> None:
    """Print the JSON Schema of configs.

    Editors complete and check a config by it: `# yaml-language-server: $schema=FILE` in its first line.
    """
    check_free(output, force)
    print_or_write(json.dumps(json_schema(), indent=2) + "\n", output)
