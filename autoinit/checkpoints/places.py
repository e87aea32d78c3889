"""Where a location leads: a place has one file, and knows the files beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urljoin

from .digests import require_digest
from .downloads import download
from .location import Location
from .source import Source

USUAL_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Names of a folder's checkpoint, on a disk or on the Hugging Face hub; the first that exists is taken."""


class Place(Protocol):
    """The place of a file."""

    def fetch(self, location: Location, sha256: str | None) -> Source:
        """The file on this machine.

        Args:
            location: The location that led here, for errors.
            sha256: Beginning of the file's digest; None if it is not known.

        Raises:
            CheckpointError: There is no such file, it cannot be fetched, or its digest is another.
        """

    def beside(self, name: str, path: str) -> Place:
        """The place of a file that lies beside this one, of which the local copy is at `path`."""


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A path; of a folder, the checkpoint in it.

    Args:
        path: `~` is expanded.
        is_shard: Whether an index says that it is there.
    """

    path: str
    is_shard: bool = False

    def fetch(self, location: Location, sha256: str | None) -> Source:
        if not self.path:  # which would mean the current folder
            raise location.error("names no file", "give a path, a URL or a name")
        path = os.path.abspath(os.path.expanduser(self.path))
        name = _in_folder(path) if os.path.isdir(path) else None
        if name is not None:
            location, path = location.means(f"its {name!r}"), os.path.join(path, name)
        absent = "get it from where its index is from, and put it beside that" if self.is_shard else None
        source = Source.at(location, path, absent=absent)
        require_digest(source, sha256)
        return source

    def beside(self, name: str, path: str) -> Place:
        return LocalFile(path=os.path.join(os.path.dirname(path), name), is_shard=True)


@dataclass(frozen=True, kw_only=True)
class WebFile:
    """A URL, http or https."""

    url: str

    def fetch(self, location: Location, sha256: str | None) -> Source:
        location = location.means(self.url)
        path = download(self.url, location, sha256)
        return Source.at(location, path, again=f"remove {path!r}, and it is downloaded again")

    def beside(self, name: str, path: str) -> Place:
        return WebFile(url=urljoin(self.url, quote(name)))


def _in_folder(folder: str) -> str | None:
    """The name of a folder's checkpoint: a usual one, or that of the only index; None if neither exists."""
    try:
        inside = set(os.listdir(folder))
    except OSError:  # Reading the folder as a file says why it cannot be read.
        return None
    usual = [name for name in USUAL_NAMES if name in inside]
    indexes = [name for name in inside if name.endswith(".index.json")]
    return usual[0] if usual else indexes[0] if len(indexes) == 1 else None
