r"""Regular expressions that are matched in bounded time, whatever they are: one in a config cannot stop a program.

`re` tries one way through a pattern after another, of which `(\w+)+x` has 2**40 on a name of 40 letters. Whether a
name matches as a whole can be asked of all ways at once: for each part of the pattern, and each place where it may
begin, all places where it may end.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

if sys.version_info >= (3, 11):
    from re import _compiler, _constants, _parser  # type: ignore[attr-defined]
else:
    import sre_compile as _compiler
    import sre_constants as _constants
    import sre_parse as _parser

REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)
LOOKS = (_constants.ASSERT, _constants.ASSERT_NOT)
ONE_LETTER = (_constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY, _constants.IN, _constants.AT)

MANY = 16
"""So many ways at one part of a pattern, or at all that have fewer, are as many as a name has letters."""

DEEPEST = 60
"""How deep groups may lie in each other."""

Flags = tuple[tuple[int, int], ...]
"""What the groups around a part add to the flags and take away, from the outermost."""

Ends = Callable[["Name", int], int]
"""The places where a part may end that begins at a place, as bits of a number."""


class Name:
    """A name that is matched, and what has been found out of it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.known: dict[tuple[int, int], int] = {}


def whole_matcher(pattern: str) -> Callable[[str], bool]:
    r"""A predicate: whether a regular expression matches a string from its beginning to its end.

    Raises:
        ValueError: it is none, it is nested too deeply, or it has so many repeats beside a back reference that nothing
            bounds its time.

    Example:
        >>> whole_matcher(r"(\w+\.?)+conv")("encoder.layers.0.conv")
        True
        >>> whole_matcher(r"(\w+)+x")("w" * 60)
        False
    """
    try:
        compiled = re.compile(pattern)
        tree = _parser.parse(pattern)
    except (re.error, OverflowError) as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("its groups are nested too deeply") from error
    if _is_tame(tree):
        return lambda text: compiled.fullmatch(text) is not None
    ends = Compiler(tree).sequence(tree, ())
    return lambda text: bool(ends(Name(text), 0) >> len(text) & 1)


def _is_tame(tree: Any) -> bool:
    """Whether there are so few ways through a pattern that `re`, which is faster, can try them all."""
    nodes = list(_nodes(tree))
    repeated = [inner for operator, value in nodes if _is_repeat(operator) and value[1] > 1 for inner in _nodes(value)]
    if any(_choices(node) > 1 for node in repeated):
        return False
    choices = [_choices(node) for node in nodes]
    finite = math.prod(count for count in choices if count < MANY)
    return finite < MANY and sum(count >= MANY for count in choices) <= 3


def _choices(node: tuple[Any, Any]) -> int:
    """How many ways there are at a part, at the most."""
    operator, value = node
    if operator is _constants.BRANCH:
        return len(value[1])
    return int(value[1]) - int(value[0]) + 1 if _is_repeat(operator) else 1


def _is_repeat(operator: Any) -> bool:
    return operator in REPEATS or str(operator) == "POSSESSIVE_REPEAT"


def _nodes(tree: Any) -> Iterator[tuple[Any, Any]]:
    """All parts of a parsed pattern, or of what belongs to one part."""
    if isinstance(tree, _parser.SubPattern):
        for node in tree.data:
            yield node
            yield from _nodes(node[1])
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            yield from _nodes(part)


class Compiler:
    """Makes a function of each part of a parsed pattern."""

    def __init__(self, tree: Any) -> None:
        self._state = tree.state
        self._count = 0
        self._depth = 0

    def sequence(self, parts: Any, flags: Flags) -> Ends:
        """Parts one after another."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError("its groups are nested too deeply")
        steps = [self._part(node, flags) for node in parts]
        self._depth -= 1

        def ends(name: Name, start: int) -> int:
            places = 1 << start
            for step in steps:
                places = _from_each(step, name, places)
            return places

        return self._remembered(ends)

    def _part(self, node: tuple[Any, Any], flags: Flags) -> Ends:
        operator, value = node
        if operator in ONE_LETTER:
            return self._letter(node, flags)
        if operator is _constants.SUBPATTERN:
            _, added, taken, inner = value
            return self.sequence(inner, (*flags, (added, taken)) if added or taken else flags)
        if operator is _constants.BRANCH:
            return _any_of([self.sequence(each, flags) for each in value[1]])
        if operator in REPEATS:
            least, most, inner = value
            return self._remembered(_repeated(self.sequence(inner, flags), least, most))
        if operator in LOOKS:
            direction, inner = value
            back = inner.getwidth()[0] if direction < 0 else 0
            return _look(self.sequence(inner, flags), back, wanted=operator is _constants.ASSERT)
        raise ValueError(
            "beside a back reference, a condition or a possessive repeat at most two repeats and alternatives are "
            "matched in bounded time; write it without"
        )

    def _letter(self, node: tuple[Any, Any], flags: Flags) -> Ends:
        """A part of one letter, or of none, which is left to `re`."""
        tree = _parser.SubPattern(self._state, [node])
        for added, taken in reversed(flags):
            tree = _parser.SubPattern(self._state, [(_constants.SUBPATTERN, (None, added, taken, tree))])
        match = _compiler.compile(tree).match

        def ends(name: Name, start: int) -> int:
            found = match(name.text, start)
            return 0 if found is None else 1 << found.end()

        return ends

    def _remembered(self, ends: Ends) -> Ends:
        self._count += 1
        number = self._count

        def remembered(name: Name, start: int) -> int:
            key = number, start
            found = name.known.get(key)
            if found is None:
                found = name.known[key] = ends(name, start)
            return found

        return remembered


def _bits(places: int) -> Iterator[int]:
    while places:
        lowest = places & -places
        yield lowest.bit_length() - 1
        places ^= lowest


def _from_each(step: Ends, name: Name, places: int) -> int:
    reached = 0
    for start in _bits(places):
        reached |= step(name, start)
    return reached


def _any_of(branches: Sequence[Ends]) -> Ends:
    def ends(name: Name, start: int) -> int:
        reached = 0
        for branch in branches:
            reached |= branch(name, start)
        return reached

    return ends


def _repeated(inner: Ends, least: int, most: int) -> Ends:
    def ends(name: Name, start: int) -> int:
        places, times = 1 << start, 0
        while times < least:
            after = _from_each(inner, name, places)
            if after == places:  # So it stays: places move to the right only, and at the right end they stop.
                break
            places, times = after, times + 1
        reached = new = places
        times = least
        while new and times < most:
            new = _from_each(inner, name, new) & ~reached
            reached, times = reached | new, times + 1
        return reached

    return ends


def _look(inner: Ends, back: int, *, wanted: bool) -> Ends:
    """A look ahead, or back by a fixed width."""

    def ends(name: Name, start: int) -> int:
        if back:
            is_there = start >= back and bool(inner(name, start - back) >> start & 1)
        else:
            is_there = inner(name, start) != 0
        return 1 << start if is_there == wanted else 0

    return ends
