"""The arguments that a target is called with: `--arg depth=12`, `--arg config.n_layer=2`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ..errors import nearest
from .target_errors import CommandError, run_target


def keyword_arguments(target: str, factory: Callable[..., Any], arguments: Iterable[str]) -> dict[str, Any]:
    """Read `--arg` options, and check them against a target's signature.

    A required argument that is left out is built by the class of its annotation, or of the target's attribute
    `<name>_class`, if that class needs no arguments: the `config` of a model of transformers. `config.n_layer=2` is an
    argument for that class.

    Raises:
        CommandError: The target has no such argument, or needs one that is missing.
    """
    given, inner = _parsed(arguments)
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # of a callable in C
        return given
    needed = _needed(target, signature, [*given, *inner])
    for name in dict.fromkeys([*inner, *needed]):
        cls = _class_of(factory, name)
        if name not in given and cls is not None and (name in inner or _needs_nothing(cls)):
            options = inner.get(name, {})
            given[name] = run_target(f"{target}: {name}", partial(cls, **options))
            print(f"{name} = {cls.__name__}({', '.join(f'{key}={value!r}' for key, value in options.items())})")
    missing = [name for name in (*inner, *needed) if name not in given]
    if missing:
        shown = signature.replace(return_annotation=signature.empty)
        example = " ".join(f"--arg {name}=..." for name in missing)
        raise CommandError(f"{target}{shown} needs {', '.join(missing)}. Add {example}")
    return given


def _needed(target: str, signature: inspect.Signature, given: list[str]) -> list[str]:
    """Names of the arguments without a default; an error for a name that the target does not take."""
    taken = signature.parameters.values()
    named = [each for each in taken if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    names = [each.name for each in named]
    if not any(each.kind is each.VAR_KEYWORD for each in taken):
        for name in given:
            if name not in names:
                known = f" It takes: {', '.join(names)}." if names else " It takes none."
                raise CommandError(f"{target} has no argument {name!r}.{nearest(name, names)}{known}")
    return [each.name for each in named if each.default is each.empty]


def _parsed(arguments: Iterable[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Arguments of the target by name, and arguments of its arguments' classes."""
    import yaml

    given: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for argument in arguments:
        path, equals, text = argument.partition("=")
        name, dot, option = path.partition(".")
        if not equals or not name.isidentifier() or (dot and not option.isidentifier()):
            raise CommandError(f"--arg {argument}: write name=value, such as --arg depth=12.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise CommandError(f"--arg {argument}: the value is invalid YAML. Put quotes around text.") from error
        if dot:
            inner.setdefault(name, {})[option] = value
        else:
            given[name] = value
    return given, inner


def _class_of(factory: Callable[..., Any], name: str) -> type | None:
    """The class of a config that a target takes; types of Python (a path, a number) and torch (a module) are not."""
    try:
        annotation = inspect.signature(factory, eval_str=True).parameters[name].annotation
    except (NameError, KeyError):  # imported for type checkers only; an argument of **kwargs
        annotation = None
    for cls in (annotation, getattr(factory, f"{name}_class", None)):
        if isinstance(cls, type) and cls.__module__.partition(".")[0] not in (*sys.stdlib_module_names, "torch"):
            return cls
    return None


def _needs_nothing(cls: type) -> bool:
    try:
        inspect.signature(cls).bind()
    except (TypeError, ValueError):
        return False
    return not inspect.isabstract(cls)
