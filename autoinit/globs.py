"""Patterns over module FQNs and parameter names."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache

from .errors import ConfigError, ConfigTypeError, MatchError, nearest
from .regexes import whole_matcher

WILDCARDS = frozenset("*?[")
Predicate = Callable[[str], bool]


def is_plain(pattern: str) -> bool:
    """Whether a pattern names exactly one thing.

    Example:
        >>> is_plain("layer1.0.conv1"), is_plain("layer*.conv1"), is_plain("re:conv.")
        (True, False, False)
    """
    return not pattern.startswith("re:") and not WILDCARDS & set(pattern)


@lru_cache(maxsize=4096)
def fqn_pattern(pattern: str) -> Predicate:
    """A predicate over dotted names: `*` stays within one component, `**` stands for any number of components.

    `re:` starts a regular expression that has to match the whole name.

    Raises:
        ConfigError: a regular expression that does not compile.

    Example:
        >>> [
        ...     name
        ...     for name in ("attn", "blocks.0.attn", "blocks.0.attn.qkv")
        ...     if fqn_pattern("**.attn")(name)
        ... ]
        ['attn', 'blocks.0.attn']
        >>> fqn_pattern("layer*.conv1")("layer1.0.conv1")
        False
    """
    if pattern.startswith("re:"):
        return _regex(pattern)
    parts = [None if part == "**" else _component(part) for part in components(pattern)]
    return lambda name: _matches(parts, components(name))


@lru_cache(maxsize=4096)
def param_pattern(pattern: str) -> Predicate:
    """A predicate over one module's parameter names.

    Raises:
        ConfigError: a regular expression that does not compile.

    Example:
        >>> param_pattern("*_embed")("pos_embed"), param_pattern("weight")("weight_g")
        (True, False)
    """
    return _regex(pattern) if pattern.startswith("re:") else _component(pattern)


def components(name: str) -> list[str]:
    """The parts of a dotted name; the name of a root is empty and has none."""
    return name.split(".") if name else []


def _component(part: str) -> Predicate:
    if is_plain(part):
        return part.__eq__
    matcher = re.compile(fnmatch.translate(part)).match
    return lambda name: matcher(name) is not None


def _matches(parts: Sequence[Predicate | None], names: Sequence[str]) -> bool:
    """Match component by component; None stands for any number. Only the latest of those is ever taken back."""
    at, reached, latest, resume = 0, 0, None, 0
    while reached < len(names):
        part = parts[at] if at < len(parts) else _nothing
        if part is None:
            latest, resume = at, reached
            at += 1
        elif part(names[reached]):
            at += 1
            reached += 1
        elif latest is not None:
            resume += 1
            at, reached = latest + 1, resume
        else:
            return False
    return all(part is None for part in parts[at:])


def _nothing(name: str) -> bool:
    return False


def _regex(pattern: str) -> Predicate:
    try:
        return whole_matcher(pattern.removeprefix("re:"))
    except ValueError as error:
        raise ConfigError(f"{pattern!r} is not a regular expression: {error}.") from error.__cause__ or error


def selected(argument: str, written: object, fqns: Collection[str], model: str) -> set[str]:
    """The FQNs that a glob or a list of globs fits; or all for True, none for False.

    Args:
        argument: what the user calls the globs.
        written: the globs.
        fqns: the parameters of the model.
        model: its class name.

    Raises:
        ConfigTypeError: not a list of globs.
        ConfigError: a regular expression that does not compile.
        MatchError: a glob fits no parameter, so that the list stays true.
    """
    if isinstance(written, bool):
        return set(fqns) if written else set()
    patterns = (written,) if isinstance(written, str) else written
    if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigTypeError(f"{argument}={written!r} must be a list of names or globs.")
    found: set[str] = set()
    for pattern in patterns:
        fitting = set(filter(fqn_pattern(pattern), fqns))
        if fqns and not fitting:
            raise MatchError(
                f"{argument}: {pattern!r} is no parameter of {model}.{nearest(pattern, fqns)}", origin=argument
            )
        found |= fitting
    return found
