"""The location of a checkpoint as the user wrote it, and the form of every error about it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ..errors import CheckpointError, nearest


@dataclass(frozen=True, kw_only=True)
class Location:
    """A path, URL or name as the user wrote it; equal to another of the same text.

    Args:
        text: As written.
        origin: Where it was written, e.g. `init_cfg[0]`.
        meaning: The URL, or the part of a sharded checkpoint, that an error is about.

    Example:
        >>> location = Location(text="torchvision://resnet50", origin="init_cfg[0]")
        >>> location.means("https://x.org/r.pth").error("is empty", "download it again")
        CheckpointError("init_cfg[0]: checkpoint 'torchvision://resnet50' (https://x.org/r.pth) is empty: \
download it again")
    """

    text: str
    origin: str | None = field(default=None, compare=False)
    meaning: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, written: object, origin: str | None) -> Location:
        """Raise CheckpointError if `written` is neither a string nor a path."""
        text = os.fspath(written) if isinstance(written, os.PathLike) else written
        if not isinstance(text, str):
            raise _error(repr(written), "is not a path", "give a path, a URL or a name as a string", origin)
        return cls(text=text, origin=origin)

    def means(self, meaning: str) -> Location:
        """The same location, whose errors also show `meaning`."""
        return replace(self, meaning=None if meaning == self.text else meaning)

    def error(self, what: str, remedy: str) -> CheckpointError:
        """An error that says where, what, and the remedy."""
        means = f" ({self.meaning})" if self.meaning else ""
        return _error(f"{self.text!r}{means}", what, remedy, self.origin)

    def unknown(self, name: str, known: Iterable[str], whose: str) -> CheckpointError:
        """The error for a name that a table does not have."""
        names = sorted(known)
        shown = nearest(name, names) or f" It has {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}."
        return self.error(
            f"is not known: {whose} has no {name!r}", f"give a name that it has.{shown}".removesuffix(".")
        )


def _error(name: str, what: str, remedy: str, origin: str | None) -> CheckpointError:
    where = f"{origin}: " if origin else ""
    return CheckpointError(f"{where}checkpoint {name} {what}: {remedy}", origin=origin)
