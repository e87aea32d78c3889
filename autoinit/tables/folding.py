"""Names that differ only in numbers, as one name: `layers.{0..11}.weight`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

NUMBER = re.compile(r"(?<!\d)(?:0|[1-9]\d{0,17})(?!\d)", re.ASCII)
"""A number in a name; `01` is text."""


def folded_names(names: Iterable[str]) -> list[str]:
    """Names, with those that differ only in numbers as one.

    Example:
        >>> folded_names(["heads.0.weight", "heads.1.weight", "heads.2.weight", "stem.weight"])
        ['heads.{0..2}.weight', 'stem.weight']
    """
    return [name for name, _ in folded([(name,) for name in names])]


def folded(rows: Iterable[Sequence[str]]) -> list[tuple[str, list[int]]]:
    """Name and indices of the rows of each group, in the order of their first rows.

    The numbers in a name are merged one position after the other, the last first, so that a group is always all
    combinations of the numbers that its name shows.
    """
    groups: dict[Any, list[int]] = {}
    for index, (name, *cells) in enumerate(rows):
        numbers = tuple(frozenset([int(number)]) for number in NUMBER.findall(name))
        groups.setdefault((tuple(NUMBER.split(name)), numbers, tuple(cells)), [index])
    for back in range(1, 1 + max((len(numbers) for _, numbers, _ in groups), default=0)):
        merged: dict[Any, tuple[set[int], list[int]]] = {}
        for (texts, numbers, cells), members in groups.items():
            at = len(numbers) - back
            key = (texts, cells, numbers[:at], numbers[at + 1 :], at) if at >= 0 else (texts, cells, numbers, (), None)
            found, rows_of = merged.setdefault(key, (set(), []))
            found.update(numbers[at] if at >= 0 else ())
            rows_of.extend(members)
        groups = {
            (texts, before if at is None else (*before, frozenset(found), *after), cells): members
            for (texts, cells, before, after, at), (found, members) in merged.items()
        }
    return [(_joined(texts, numbers), members) for (texts, numbers, _), members in groups.items()]


def _joined(texts: Sequence[str], numbers: Sequence[frozenset[int]]) -> str:
    return texts[0] + "".join(_shown(found) + text for found, text in zip(numbers, texts[1:], strict=True))


def _shown(found: frozenset[int]) -> str:
    """Numbers in braces, those that follow each other as a range: `{0..4,6}`."""
    ordered = sorted(found)
    if len(ordered) == 1:
        return str(ordered[0])
    # Within a run of consecutive numbers, number minus index stays the same.
    runs = [[n for _, n in run] for _, run in groupby(enumerate(ordered), key=lambda pair: pair[1] - pair[0])]
    shown = [f"{run[0]}..{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs]
    return "{" + ",".join(shown) + "}"


def split_names(names: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """Prefixes of folded names to write above the rows that share them, and what remains of the names under them.

    Example:
        >>> split_names(("name", "blocks.{0..11}.norm.weight", "blocks.{0..11}.norm.bias", "head"))
        (['blocks.{0..11}.', '', ''], ('name', '  norm.weight', '  norm.bias', 'head'))
    """
    title, *rest = names
    prefixes, shown = [], [title]
    for prefix, group in groupby(rest, key=lambda name: (PREFIX.match(name) or [""])[0]):
        names_of = list(group)
        prefixes += [prefix, *[""] * (len(names_of) - 1)]
        shown += [f"  {name.removeprefix(prefix)}" if prefix else name for name in names_of]
    return prefixes, tuple(shown)


PREFIX = re.compile(r".*?\{[^}]*\}[^.]*\.(?=.)", re.DOTALL)
"""A folded name up to the component with its first range."""


def range_text(cells: Iterable[str]) -> str:
    """The lowest and the highest of some numbers."""
    ordered = sorted({cell for cell in cells if cell}, key=lambda cell: float(cell.rstrip(" %")))
    return " .. ".join(dict.fromkeys((ordered[0], ordered[-1]))) if ordered else ""
