"""A model named on the command line: `package.module:callable` or `file.py:callable`."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ..errors import AutoInitError, nearest

FORM = "Write package.module:callable or path/to/file.py:callable."
OTHER_CODE = (__file__, "<frozen importlib", *(os.path.dirname(inspect.getfile(each)) for each in (importlib, torch)))
"""Files of code that calls the target or is called by it."""


class CommandError(AutoInitError, ValueError):
    """What was asked for on the command line cannot be done; a cause, if any, is an exception of the target's code."""


def builder(target: str, arguments: Iterable[str] | None = None, *, meta: bool = False) -> Callable[[], nn.Module]:
    """Import a target, and return a function that builds its model.

    What the target prints goes to stderr, so that stdout has the result of the command alone.

    Args:
        target: `package.module:callable` or `file.py:callable`; the callable may have dots, for a class method.
        arguments: `name=value`, the value in YAML (`depth=12`, `sizes=[1, 2]`).
        meta: Whether to build on the meta device: shapes without memory.

    Raises:
        CommandError: The target cannot be imported or called with these arguments; the function raises it if the target
            raises, exits, or builds no module.
    """
    with contextlib.redirect_stdout(sys.stderr):
        factory = find(target)
        keywords = dict(map(_parsed, arguments or ()))
        _check_arguments(target, factory, keywords)

    def build() -> nn.Module:
        with contextlib.redirect_stdout(sys.stderr), torch.device("meta") if meta else contextlib.nullcontext():
            model = _run(f"{target} built no model", lambda: factory(**keywords))
        if not isinstance(model, nn.Module):
            kind = type(model).__name__
            raise CommandError(f"{target} returned {kind}, not an nn.Module. Name what builds the model.")
        return model

    return build


def find(target: str) -> Callable[..., Any]:
    """The callable of a target."""
    where, colon, name = target.rpartition(":")
    if not colon or not where or not name:
        raise CommandError(f"{target!r} is not a target. {FORM}")
    module = _module(where)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise CommandError(f"{target}: {where} has no {name!r}.{nearest(name, _callables(module))}")
        found = getattr(found, part)
    if not callable(found):
        raise CommandError(f"{target}: a {type(found).__name__}, which cannot be called. Name what builds the model.")
    return found  # type: ignore[no-any-return]


def _module(where: str) -> ModuleType:
    path = Path(where)
    if path.suffix == ".py":
        if not path.is_file():
            others = [each.name for each in path.parent.glob("*.py")] if path.parent.is_dir() else []
            raise CommandError(f"{where}: no such file.{nearest(path.name, others)}")
        found: ModuleType = _run(f"{where} cannot be imported", lambda: _module_of_file(path))
        return found
    with _first_on_path(""):
        module: ModuleType = _run(f"{where!r} cannot be imported", lambda: importlib.import_module(where))
    return module


def _module_of_file(path: Path) -> ModuleType:
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_of_{path.absolute().parent.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CommandError(f"{path} cannot be imported: no loader for it. {FORM}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as if imported: pickling and dataclasses look the module up
    with _first_on_path(str(path.parent)):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _first_on_path(folder: str) -> Any:
    """Import from a folder first, as `python file.py` and `python -m module` do."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _run(what: str, code: Callable[[], Any]) -> Any:
    """Run code of the target; its errors and exits become one error with a cause."""
    try:
        return code()
    except SystemExit as error:
        raise CommandError(f"{what}: it exits with status {error.code}. Name a function that only builds.") from error
    except AutoInitError:
        raise
    except Exception as error:
        message = str(error).strip().partition("\n")[0]
        text = f"{type(error).__name__}{': ' if message else ''}{message}"
        raise CommandError(f"{what}: {text}{_place(error)}") from error


def _place(error: Exception) -> str:
    """The line of the target's code that raised."""
    frames = [each for each in extract_tb(error.__traceback__) if not each.filename.startswith(OTHER_CODE)]
    return f"\n  at {frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else ""


def _callables(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]


def _parsed(argument: str) -> tuple[str, Any]:
    import yaml

    name, equals, value = argument.partition("=")
    if not equals or not name.isidentifier():
        raise CommandError(f"--arg {argument}: write name=value, such as --arg depth=12.")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise CommandError(f"--arg {argument}: the value is invalid YAML. Put quotes around text.") from error


def _check_arguments(target: str, factory: Callable[..., Any], keywords: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    taken = signature.parameters.values()
    named = [each.name for each in taken if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    if not any(each.kind is each.VAR_KEYWORD for each in taken):
        for name in keywords:
            if name not in named:
                known = f" It takes: {', '.join(named)}." if named else " It takes none."
                raise CommandError(f"{target} has no argument {name!r}.{nearest(name, named)}{known}")
    needed = [each for each in taken if each.default is each.empty and each.name in named and each.name not in keywords]
    if needed:
        example = " ".join(f"--arg {each.name}=..." for each in needed)
        shown = signature.replace(return_annotation=signature.empty)
        raise CommandError(f"{target}{shown} needs {', '.join(each.name for each in needed)}. Add {example}")
