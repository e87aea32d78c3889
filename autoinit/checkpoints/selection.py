"""Which names of a file a checkpoint has: as mmengine chooses them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import TypeVar

from ..errors import nearest
from .source import Source

T = TypeVar("T")

_SHOWN = 8


def normalized_prefix(prefix: object, *, source: Source) -> str | None:
    """`prefix` with the dot that it ends with.

    Raises:
        CheckpointError: it is neither a string nor None.
    """
    if prefix is None:
        return None
    if not isinstance(prefix, str):
        what = f"has a prefix that is no string: {prefix!r}"
        raise source.error(what, "give a name such as 'backbone', or none")
    return prefix if prefix.endswith(".") else prefix + "."


def select(entries: Mapping[str, T], prefix: str | None) -> dict[str, T]:
    """The part of a checkpoint under `prefix`, by the names below it.

    As in the original, a leading `module.` (of DataParallel) is dropped only if no prefix is asked for.

    Example:
        >>> select({"module.fc.weight": 1}, None)
        {'fc.weight': 1}
        >>> select({"backbone.fc.weight": 1, "head.weight": 2}, "backbone.")
        {'fc.weight': 1}
    """
    if prefix is None:
        return {key.removeprefix("module."): value for key, value in entries.items()}
    return {key.removeprefix(prefix): value for key, value in entries.items() if key.startswith(prefix)}


def hint_for_prefix(prefix: str, keys: Iterable[str]) -> str:
    """What to write instead of a prefix that selects nothing.

    Example:
        >>> hint_for_prefix("backbone.", ["module.backbone.fc.weight", "module.head.weight"])
        "give one that it has: 'module'. Did you mean 'module.backbone'?"
    """
    wanted = prefix.removesuffix(".")
    paths = dict.fromkeys(path for key in keys for path in accumulate(key.split(".")[:-1], "{}.{}".format))
    tops = [path for path in paths if "." not in path]
    if not tops:
        return "give none: its names have no dots"
    deeper = [path for path in paths if path.endswith(f".{wanted}")]
    guess = f" Did you mean {min(deeper, key=len)!r}?" if deeper else nearest(wanted, tops)
    shown = ", ".join(map(repr, tops[:_SHOWN])) + (", ..." if len(tops) > _SHOWN else "")
    return f"give one that it has: {shown}.{guess}".removesuffix(".")
