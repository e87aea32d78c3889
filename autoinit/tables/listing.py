"""A list of items in the text of an exception."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN = 20
"""Items that the text of an exception lists; what it carries has all."""


def listed(items: Iterable[object]) -> str:
    """A line for each of the first items, and how many there are more.

    Example:
        >>> print(listed(["fc.weight: no rule"]))
          fc.weight: no rule
    """
    lines = [f"  {item}" for item in items]
    more = [f"  ... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join(lines[:SHOWN] + more)
