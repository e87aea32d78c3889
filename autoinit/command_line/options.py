"""The arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Target = Annotated[
    str, typer.Argument(metavar="TARGET", help="package.module:callable or file.py:callable that builds a model")
]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--arg", metavar="NAME=VALUE", help="argument of the callable, as YAML; repeat it for more"),
]
Cfg = Annotated[
    Path | None, typer.Option("--cfg", metavar="FILE", help="config: .yaml, .json or .toml; without it, the modules'")
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="seed of torch and of the rules' values")]
Meta = Annotated[bool, typer.Option("--meta", help="build on the meta device: shapes without memory")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="also write a report for the browser")]
Full = Annotated[bool, typer.Option("--full", help="one row per parameter, nothing folded")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="file to write, not stdout")]
Force = Annotated[bool, typer.Option("--force", help="replace files that exist")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]
