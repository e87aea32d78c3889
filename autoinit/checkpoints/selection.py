"""Select and rename the tensors of a checkpoint file, as mmengine does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from ..errors import nearest
from .source import Location

Pairs = tuple[tuple[str, str], ...]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Selection:
    r"""The tensors that are taken from a file: of the part that a zoo means, renamed, those under a prefix.

    `revise_keys` are pairs of a regular expression and its replacement, applied to each name in turn. None stands for
    `(r"^module\.", "")`, which takes off what DataParallel adds; but not beside a prefix, as in mmengine.
    """

    part: str | None = None  # Prefix that the location's scheme stands for, with its dot; None for all.
    revise_keys: Pairs | None = None
    prefix: str | None = None  # Prefix of the revised names to take, with its dot; None for all.

    def names(self, names: Iterable[str], location: Location) -> dict[str, str]:
        """The names of the checkpoint, each with the file's name for it."""
        part = _under(self.part, {name: name for name in names})
        if not part:
            what = f"has nothing under {self.part!r}, the part that its scheme stands for"
            raise location.error(what, "load the file that it means by its own address, with the prefix that it has")
        revised: dict[str, str] = {}
        for name, old in part.items():
            new = self._revised(name)
            if new in revised and self.revise_keys is not None:
                what = f"has both {revised[new]!r} and {old!r}, which revise_keys gives one name, {new!r}"
                raise location.error(what, "make the patterns narrower, for example with ^ and $")
            revised[new] = old
        selected = _under(self.prefix, revised)
        if not selected:
            wanted = (self.prefix or "").removesuffix(".")
            raise location.error(f"has nothing under the prefix {wanted!r}", _remedy(wanted, revised))
        return selected

    def modules(self, about: Mapping[str, T]) -> dict[str, T]:
        """Metadata of modules, by the names that the checkpoint has for them."""
        # The names of a module's tensors begin with the module's.
        part = _under(self.part, {f"{name}." if name else "": value for name, value in about.items()})
        selected = _under(self.prefix, {self._revised(name): value for name, value in part.items()})
        return {name.removesuffix("."): value for name, value in selected.items() if name == "" or name[-1] == "."}

    def _revised(self, name: str) -> str:
        if self.revise_keys is None:
            return name.removeprefix("module.") if self.prefix is None else name
        for pattern, replacement in self.revise_keys:
            name = re.sub(pattern, replacement, name)
        return name


def _remedy(wanted: str, keys: Iterable[str]) -> str:
    """The remedy for a prefix that selects nothing."""
    paths = dict.fromkeys(path for key in keys for path in accumulate(key.split(".")[:-1], "{}.{}".format))
    tops = [path for path in paths if "." not in path]
    if not tops:
        return "give none: its names have no dots"
    deeper = [path for path in paths if path.endswith(f".{wanted}")]
    guess = f" Did you mean {min(deeper, key=len)!r}?" if deeper else nearest(wanted, tops)
    shown = ", ".join(map(repr, tops[:8])) + (", ..." if len(tops) > 8 else "")
    return f"give one that it has: {shown}.{guess}".removesuffix(".")


def _under(prefix: str | None, entries: Mapping[str, T]) -> dict[str, T]:
    if prefix is None:
        return dict(entries)
    return {key.removeprefix(prefix): value for key, value in entries.items() if key.startswith(prefix)}
