"""A location followed to its end, and the file there fetched."""

from __future__ import annotations

from dataclasses import dataclass

from ..files import Source
from ..location import Location
from .places import Place
from .schemes import follow


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file that a location means, and how to get those beside it.

    Args:
        source: the file.
        place: where it is from.
        under: the part of it that the location's scheme stands for; None for all.
        sha256: what its digest was required to begin with.
    """

    source: Source
    place: Place
    under: str | None
    sha256: str | None

    def beside(self, name: str) -> Source:
        """A file that lies beside this one, fetched.

        Raises:
            CheckpointError: it does not exist, or cannot be fetched.
        """
        shard = self.source.location.means(f"its shard {name!r}")
        return self.place.beside(name, self.source.path).fetch(shard, None)


def find(location: Location, sha256: str | None) -> Found:
    """Follow a location, and fetch the file.

    Raises:
        CheckpointError: there is no such file, it cannot be fetched, or its digest is another.
    """
    place, under = follow(location)
    return Found(source=place.fetch(location, sha256), place=place, under=under, sha256=sha256)
