"""Patterns over module FQNs, parameter names and numbers of dimensions."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache

from .errors import ConfigError, ConfigTypeError, MatchError, nearest

WILDCARDS = frozenset("*?[")
Predicate = Callable[[str], bool]
COMPARISONS = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
OTHER_SPELLINGS = {"=": "==", "=>": ">=", "=<": "<=", "<>": "!=", "≥": ">=", "≤": "<=", "≠": "!="}
MOST = 32
"""Dimensions up to which conditions are checked for sense."""


def is_plain(pattern: str) -> bool:
    """Whether a pattern names exactly one thing."""
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
    """Whether a pattern in `params` is one over full names: it has dots, or is a regular expression."""
    return pattern.startswith("re:") or "." in pattern


@lru_cache(maxsize=4096)
def param_pattern(pattern: str) -> Predicate:
    """A predicate over one module's parameter names; a regular expression that does not compile is a ConfigError."""
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
            text = f"{argument}: {pattern!r} is no parameter of {model}.{nearest(pattern, fqns)}"
            raise MatchError(text, origin=argument)
        found |= fitting
    return found


@lru_cache(maxsize=1024)
def ndim_pattern(pattern: int | str) -> Callable[[int], bool]:
    """A predicate over numbers of dimensions: a number, or a comparison with one.

    Raises:
        ConfigError: Neither.

    Example:
        >>> [ndim_pattern(">1")(ndim) for ndim in (1, 2, 4)], ndim_pattern(2)(2)
        ([False, True, True], True)
    """
    text = str(pattern)
    found = re.fullmatch(r"\s*(\D*?)\s*(\d+)\s*", text, re.ASCII)
    sign = found[1] if found else ""
    if found is None or (sign and sign not in COMPARISONS):
        known = f" Did you mean '{OTHER_SPELLINGS[sign]}{found[2]}'?" if found and sign in OTHER_SPELLINGS else ""
        raise ConfigError(
            f"{pattern!r} is not a condition on the number of dimensions.{known} "
            "Write a number such as 2, or a comparison such as '>1', '>=2', '==2', '!=1'."
        )
    compare, number = COMPARISONS[sign or "=="], int(found[2])
    return lambda ndim: bool(compare(ndim, number))


def fits_ndim(patterns: Sequence[int | str], ndim: int) -> bool:
    """Whether a number of dimensions fits one of the patterns, or there is no pattern."""
    return not patterns or any(ndim_pattern(pattern)(ndim) for pattern in patterns)


def check_ndim(patterns: Sequence[int | str]) -> None:
    """Require conditions that some number of dimensions meets and some other does not.

    Raises:
        ConfigError: A pattern is not a condition, or together they select everything or nothing.
    """
    fitting = [fits_ndim(patterns, ndim) for ndim in range(MOST + 1)]
    if all(fitting):
        remedy = "A list means any of them, so write the numbers, such as [2, 3, 4]" if len(patterns) > 1 else ""
        raise ConfigError(f"{list(patterns)} leaves out nothing. {remedy or 'Remove the key'}.")
    if not any(fitting):
        raise ConfigError(f"{list(patterns)} is met by no tensor: dimensions are counted from 0 (a scalar).")
