"""A model named on the command line: `package.module:callable` or `file.py:callable`."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ..errors import nearest
from .arguments import keyword_arguments
from .target_errors import CommandError, run_target

FORM = "Write package.module:callable or path/to/file.py:callable."


def builder(target: str, arguments: Iterable[str] | None = None, *, meta: bool = False) -> Callable[[], nn.Module]:
    """Import a target, and return a function that builds its model.

    What the target prints goes to stderr, so that stdout has the result of the command alone.

    Args:
        target: `package.module:callable` or `file.py:callable`; the callable may have dots, for a class method.
        arguments: `name=value`, the value in YAML (`depth=12`, `sizes=[1, 2]`, `config.n_layer=2`).
        meta: Whether to build on the meta device: shapes without memory.

    Raises:
        CommandError: The target cannot be imported or called with these arguments; the function raises it if the target
            raises, exits, or builds no module.
    """
    with contextlib.redirect_stdout(sys.stderr):
        factory = find(target)
        keywords = keyword_arguments(target, factory, arguments or ())

    def build() -> nn.Module:
        with contextlib.redirect_stdout(sys.stderr), torch.device("meta") if meta else contextlib.nullcontext():
            model = run_target(f"{target} built no model", lambda: factory(**keywords))
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
        found: ModuleType = run_target(f"{where} cannot be imported", lambda: _module_of_file(path))
        return found
    with _first_on_path(""):
        module: ModuleType = run_target(f"{where!r} cannot be imported", lambda: importlib.import_module(where))
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


def _callables(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
