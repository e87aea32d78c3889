"""Globs that select some modules of a model by their names and no others."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import islice, product

from ..globs import WILDCARDS, fqn_pattern

MOST = 64
"""Globs that are tried for one name with some of its numbers written out."""


def shortest_globs(wanted: Collection[str], others: Collection[str]) -> list[str]:
    """A few short globs that match some of the wanted names, and none of the others.

    The glob that matches the most names is taken first, the shortest of those.

    Args:
        wanted: Module FQNs to match.
        others: Module FQNs that must not be matched.

    Returns:
        Globs; names that no glob matches without one of the others are left out.

    Example:
        >>> names = [f"layers.{index}.{part}" for index in range(3) for part in ("in", "out")]
        >>> shortest_globs([name for name in names if name.endswith("out")], names[::2])
        ['**.out']
        >>> shortest_globs(["layers.2.out"], [name for name in names if name != "layers.2.out"])
        ['**.2.out']
    """
    left, found = dict.fromkeys(wanted), []
    for candidates in (_general, _numbered):
        hits = {glob: _hits(glob, tuple(left)) for name in left for glob in candidates(name)}
        valid = {glob: names for glob, names in hits.items() if not _matches_any(glob, others)}
        while valid and left:
            best = min(valid, key=lambda glob: (-len(valid[glob] & left.keys()), len(glob), glob))
            taken = valid[best] & left.keys()
            if not taken:
                break
            found.append(best)
            left = {name: None for name in left if name not in taken}
    return found


def _general(name: str) -> Iterator[str]:
    """Globs for a name with all of its numbers as `*`: ends, beginnings, single components, and the whole."""
    parts = [_starred(part) for part in name.split(".")]
    if not name or WILDCARDS & set(name):
        return
    for size in range(1, len(parts)):
        if parts[-size] != "*":
            yield ".".join(["**", *parts[-size:]])
    for size in range(1, len(parts)):
        if parts[size - 1] != "*":
            yield ".".join([*parts[:size], "**"])
            yield ".".join([*parts[:size], "**", parts[-1]])
    for part in parts[1:-1]:
        if part != "*":
            yield f"**.{part}.**"
    yield ".".join(parts)


def _numbered(name: str) -> Iterator[str]:
    """Globs for a name with some of its numbers written out, down to the name itself."""
    if WILDCARDS & set(name):
        yield f"re:{re.escape(name)}"
    if not name or WILDCARDS & set(name):
        return
    parts = [(_starred(part), part) if _starred(part) != part else (part,) for part in name.split(".")]
    for chosen in islice(product(*parts), MOST):
        whole = ".".join(chosen)
        yield whole
        for size in range(1, len(chosen)):
            if chosen[-size] != "*":
                yield ".".join(["**", *chosen[-size:]])
            if chosen[size - 1] != "*":
                yield ".".join([*chosen[:size], "**"])
    yield name


def _starred(part: str) -> str:
    return re.sub(r"\d+", "*", part)


@lru_cache(maxsize=65536)
def _hits(glob: str, names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(filter(fqn_pattern(glob), names))


def _matches_any(glob: str, names: Collection[str]) -> bool:
    return any(map(fqn_pattern(glob), names))
