"""Numbers of dimensions that a rule is for: `2`, `">1"`, `"!=1"`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from .errors import ConfigError

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
