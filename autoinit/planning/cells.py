"""What the tables of plans and reports show of one entry."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import takewhile
from typing import Any

from ..tables import NUMBER, folded_names
from .entries import COPY_OF, FILLED, KEPT, OWN, PENDING, Entry, ReportEntry, shape_text

NO_RULE = "(no rule)"
Cells = Mapping[str, Callable[[Any], str]]
"""Texts by the titles of their columns."""

DISTRIBUTION = re.compile(r"\b(Constant|Normal|TruncNormal|Uniform)\(([^()]*)\)")

SYMMETRIC = re.compile(r"-([\d.e-]+), \1$")


def names(entry: Entry) -> str:
    """Its names: `wte.weight = lm_head.weight`, or `heads.0.weight = heads.{1..5}.weight`, if it is tied."""
    return " = ".join((entry.fqn, *folded_names(entry.aliases))) if entry.aliases else entry.fqn


def outcome(entry: Entry) -> str:
    """What it gets or got, in few words, and the same words for like entries of repeated layers."""
    result = entry.outcome if isinstance(entry, ReportEntry) else FILLED
    if result == PENDING:
        return f"{PENDING}: {entry.given}"
    if result != FILLED:
        return _like_others(result, entry.fqn)
    if entry.is_uncovered:
        return NO_RULE
    text = _like_others(entry.gets, entry.fqn)
    return text if entry.fill is None else by_position(text)


def initializer(entry: Entry) -> str:
    """Like `outcome`, with the initializer in place of a fill that depends on the shape."""
    text = outcome(entry)
    if entry.rule is None or entry.fill is None or not entry.fill.is_random:
        return text
    return text.replace(by_position(entry.given), str(entry.rule.initializer))


def file_of_rules(entries: Iterable[Entry]) -> str:
    """The config file that all rules are from, if there is one."""
    rules = {rule.origin for entry in entries for rule in (*([entry.rule] if entry.rule else []), *entry.overrides)}
    files = {origin.rpartition(": ")[0] for origin in rules}
    return files.pop() if len(files) == 1 else ""


def urgency(entry: Entry) -> int:
    """Its place in a folded table: what is uncovered, what is pending, what is kept, and then everything else."""
    result = entry.outcome if isinstance(entry, ReportEntry) else ""
    is_pending = entry.shape is None if not result else result == PENDING
    is_kept = entry.kept is not None or (result.startswith(KEPT) and result != OWN)
    return next((at for at, applies in enumerate((entry.is_uncovered, is_pending, is_kept)) if applies), 3)


def _like_others(text: str, fqn: str) -> str:
    """A text on a copy that is the same for all layers of a copied model: `copy of student.**`."""
    before, copy, source = text.partition(COPY_OF)
    if not copy:
        return text
    name, of, root = source.partition(" of ")
    pairs = zip(name.split(".")[::-1], fqn.split(".")[::-1], strict=False)
    same = [part for part, other in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    if not NUMBER.search(".".join(same)):
        return text
    return f"{before}{copy}{'.'.join([*name.split('.')[: -len(same)], '**'])}{of}{root}"


@lru_cache(maxsize=1024)
def by_position(text: str) -> str:
    """A text in which distributions have no names of arguments.

    Example:
        >>> by_position("TruncNormal(loc=0, scale=0.02, low=-2, high=2)")
        'TruncNormal(0, 0.02, ±2)'
    """
    return DISTRIBUTION.sub(_without_names, text)


def _without_names(match: re.Match[str]) -> str:
    values = SYMMETRIC.sub(r"±\1", re.sub("[a-z]+=", "", match[2]))
    return f"{match[1]}({values})"


ALL: Cells = {
    "parameter": names,
    "shape": lambda entry: shape_text(entry.shape),
    "outcome": lambda entry: entry.outcome,
    "fill": lambda entry: entry.gets,
    "fans": lambda entry: ", ".join(map(str, entry.fans)),
    "rule": lambda entry: entry.origin,
    "overrides": lambda entry: ", ".join(rule.origin for rule in entry.overrides),
}


def folded(result: str) -> tuple[Cells, ...]:
    """Columns of folded tables, from many rows to few; `result` is the title of what a parameter gets or got."""
    rules = {title: ALL[title] for title in ("rule", "overrides")}
    return (
        {"parameter": names, "shape": ALL["shape"], result: outcome, **rules},
        {"parameter": names, result: outcome, **rules},
        {"parameter": names, result: initializer, **rules},
    )
