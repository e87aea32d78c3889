"""Where the way of a location ends: something that has one file, and knows the files beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urljoin

from ..downloads import download, remembered_digest
from ..files import Source, check_whole
from ..location import Location

USUAL_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What a folder's checkpoint is called, on a disk or on the Hugging Face hub, the first that there is."""


class Place(Protocol):
    """Something that has the file."""

    def fetch(self, location: Location, sha256: str | None) -> Source:
        """The file on this machine.

        Args:
            location: who asks for it, for errors.
            sha256: what its digest begins with, if anybody said.

        Raises:
            CheckpointError: it does not exist, cannot be fetched, or is another one.
        """

    def beside(self, name: str, path: str) -> Place:
        """Where a file is that lies beside the one that was fetched to `path`."""


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A path; of a folder, the checkpoint in it.

    Args:
        path: `~` is expanded.
        is_shard: whether an index says that it is there.
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
        source = Source(location=location, path=path, absent=absent)
        source.check()
        require_digest(source, sha256)
        return source

    def beside(self, name: str, path: str) -> Place:
        return LocalFile(path=os.path.join(os.path.dirname(path), name), is_shard=True)


@dataclass(frozen=True, kw_only=True)
class WebFile:
    """A URL, http or https."""

    url: str

    def fetch(self, location: Location, sha256: str | None) -> Source:
        asked = location.means(self.url)
        path = download(self.url, asked, sha256, lambda path: check_whole(Source(location=asked, path=path)))
        return Source(location=asked, path=path, again=f"remove {path!r}, and it is downloaded again")

    def beside(self, name: str, path: str) -> Place:
        return WebFile(url=urljoin(self.url, quote(name)))


def require_digest(source: Source, sha256: str | None) -> None:
    """Require the digest of a file to begin as somebody said.

    Raises:
        CheckpointError: it does not, or the file cannot be read.
    """
    if sha256 is None:
        return
    try:
        found = remembered_digest(source.path)
    except OSError as e:
        raise source.error(f"cannot be read ({e.strerror or e})") from e
    if not found.startswith(sha256):
        what = f"is not what it should be: sha256={sha256!r} was asked for, and its SHA-256 is {found}"
        raise source.error(what, "give the digest of this file, or the path of the other one")


def _in_folder(folder: str) -> str | None:
    """The name of a folder's checkpoint: a usual one, or that of the only index; None if it is not plain which."""
    try:
        inside = set(os.listdir(folder))
    except OSError:  # Whoever reads the folder says why it cannot be.
        return None
    usual = [name for name in USUAL_NAMES if name in inside]
    indexes = [name for name in inside if name.endswith(".index.json")]
    return usual[0] if usual else indexes[0] if len(indexes) == 1 else None
