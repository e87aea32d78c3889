"""Patterns over module FQNs and parameter names."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache

from .errors import ConfigError, ConfigTypeError, MatchError, nearest

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
        ConfigError: A regular expression that does not compile.

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
    parts = [None if part == "**" else _component(part) for part in pattern.split(".") if pattern]
    return lambda name: _matches(parts, name.split(".") if name else [])


def is_full(pattern: str) -> bool:
    """Whether a pattern in `params` is one over full names: it has dots, or is a regular expression.

    Example:
        >>> is_full("*_embed"), is_full("encoder.**.weight"), is_full("re:.*weight_hh.*")
        (False, True, True)
    """
    return pattern.startswith("re:") or "." in pattern


@lru_cache(maxsize=4096)
def param_pattern(pattern: str) -> Predicate:
    """A predicate over one module's parameter names.

    Raises:
        ConfigError: A regular expression that does not compile.

    Example:
        >>> param_pattern("*_embed")("pos_embed"), param_pattern("weight")("weight_g")
        (True, False)
    """
    return _regex(pattern) if pattern.startswith("re:") else _component(pattern)


def _component(part: str) -> Predicate:
    if is_plain(part):
        return part.__eq__
    matcher = re.compile(fnmatch.translate(part)).match
    return lambda name: matcher(name) is not None


def _matches(parts: Sequence[Predicate | None], names: Sequence[str]) -> bool:
    """Whether components match one by one; None stands for any number of them."""
    # All ways are followed at once, as the numbers of components used up, so that many `**` take no longer.
    used = {0}
    for part in parts:
        if part is None:
            used = set(range(min(used), len(names) + 1))
        else:
            used = {count + 1 for count in used if count < len(names) and part(names[count])}
        if not used:
            return False
    return len(names) in used


def _regex(pattern: str) -> Predicate:
    try:
        matcher = re.compile(pattern.removeprefix("re:")).fullmatch
    except (re.error, OverflowError, RecursionError) as error:
        reason = "its groups are nested too deeply" if isinstance(error, RecursionError) else error
        raise ConfigError(f"{pattern!r} is not a regular expression: {reason}.") from error
    return lambda name: matcher(name) is not None


def selected(argument: str, written: object, fqns: Collection[str], model: str) -> set[str]:
    """The FQNs that match a glob or a list of globs, the value of an argument; or all for True, none for False.

    Raises:
        ConfigTypeError: Not a list of globs.
        ConfigError: A regular expression that does not compile.
        MatchError: A glob matches no parameter of the model.
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
