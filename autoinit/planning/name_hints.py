"""What to write instead of a `name` that matches no module."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence

from ..errors import nearest
from ..globs import fqn_pattern, is_plain
from .tree import WRAPPED

PREFIXES = WRAPPED | {"module"}
SIMILAR = 0.75
"""How alike (`difflib`) two names are if one is a mistyped form of the other."""


def moved_hint(name: str, fqns: Collection[str], useful: Sequence[str]) -> str:
    """The remedy for a glob that starts above the model's root or further down in it; or nothing.

    `fqns` are the names of all modules; `useful` are those that make the rule fill something.

    Example:
        >>> fqns = ["layers", "layers.0", "layers.0.lora_A"]
        >>> moved_hint("lora_A", fqns, fqns)
        " Names start at the root, and modules of this name are further down (layers.0.lora_A): write '**.lora_A'."
    """
    if name.startswith("re:"):
        return ""
    first, _, rest = name.partition(".")
    if not nearest(first, {fqn.partition(".")[0] for fqn in fqns}):
        prefix = first
        while rest:
            if any(map(fqn_pattern(rest), useful)):
                if prefix in PREFIXES:
                    return f" The prefix of a wrapper is not part of a name: write {rest!r}."
                return f" Names start at the root of the model, below {prefix!r}: write {rest!r}."
            part, _, rest = rest.partition(".")
            prefix = f"{prefix}.{part}"
    for glob in (f"**.{name}", f"**.{name}.**"):
        found = next(filter(fqn_pattern(glob), useful), None)
        if found is not None:
            return f" Names start at the root, and modules of this name are further down ({found}): write {glob!r}."
    return ""


def name_hint(name: str, fqns: Collection[str], useful: Sequence[str]) -> str:
    """The remedy for a name that matches no module: where it is, what it is nearest to, or nothing."""
    return moved_hint(name, fqns, useful) or (nearest(name, fqns) if is_plain(name) else "")


def is_typo(name: str, known: Collection[str], listed: Collection[str] = ()) -> bool:
    """Whether a name is a mistyped form of a known one, which is not in the same list and has not just other numbers.

    Example:
        >>> is_typo("cnv1", ["conv1", "fc"], ["fc"]), is_typo("conv3", ["conv1"], ["conv1"])
        (True, False)
        >>> is_typo("layers.12.fc", ["layers.1.fc"])
        False
    """
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=SIMILAR)
    nearby = by_lower[found[0]] if found else name
    return nearby not in listed and _without_numbers(nearby) != _without_numbers(name)


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "", name)
