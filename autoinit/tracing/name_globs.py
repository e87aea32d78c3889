"""Globs that select some modules of a model by their names and no others."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import islice, product

from ..globs import WILDCARDS, fqn_pattern

MOST = 64
"""How many ways to write out some of a name's numbers are tried."""


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
    left, found = set(wanted), []
    for numbered in (False, True):
        globs = {glob for name in left for glob in _globs(name, numbered=numbered)}
        valid = {
            glob: set(filter(fqn_pattern(glob), left)) for glob in globs if not any(map(fqn_pattern(glob), others))
        }
        while left and valid:
            best = min(valid, key=lambda glob: (-len(valid[glob] & left), len(glob), glob))
            if valid[best].isdisjoint(left):
                break
            found.append(best)
            left -= valid[best]
    return found


def _globs(name: str, *, numbered: bool) -> Iterator[str]:
    """Globs for ends and beginnings, components and all of a name: its numbers as `*`, or some of them written out."""
    if WILDCARDS & set(name):
        yield f"re:{re.escape(name)}"
    elif name:
        components = [(re.sub(r"\d+", "*", part), part) for part in name.split(".")]
        choices = [dict.fromkeys(both if numbered else both[:1]) for both in components]
        for parts in islice(product(*choices), MOST):
            for size in range(1, len(parts)):
                if parts[-size] != "*":
                    yield ".".join(["**", *parts[-size:]])
                if parts[size - 1] != "*":
                    yield ".".join([*parts[:size], "**"])
                    yield ".".join([*parts[:size], "**", parts[-1]])
            yield from (f"**.{part}.**" for part in parts[1:-1] if part != "*")
            yield ".".join(parts)
        if numbered:
            yield name
