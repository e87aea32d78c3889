"""A checkpoint's location as the user wrote it, and the local file that it leads to."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache

from ..errors import CheckpointError, nearest

USUAL_NAMES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Names of a folder's checkpoint, on a disk or on the Hugging Face hub; the first that exists is taken."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """A path, URL or name as the user wrote it; makes every error about the checkpoint."""

    text: str
    origin: str | None = field(default=None, compare=False)  # Where it was written, e.g. `init_cfg[0]`.
    meaning: str | None = field(default=None, compare=False)  # The URL or shard that an error is about.

    def means(self, meaning: str) -> Location:
        """The same location, whose errors also show `meaning`."""
        return replace(self, meaning=None if meaning == self.text else meaning)

    def error(self, what: str, remedy: str) -> CheckpointError:
        """An error that says where, what, and the remedy."""
        where = f"{self.origin}: " if self.origin else ""
        means = f" ({self.meaning})" if self.meaning else ""
        return CheckpointError(f"{where}checkpoint {self.text!r}{means} {what}: {remedy}", origin=self.origin)

    def unknown(self, name: str, known: Iterable[str], whose: str) -> CheckpointError:
        """The error for a name that a table does not have."""
        names = sorted(known)
        shown = nearest(name, names) or f" It has {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}."
        remedy = f"give a name that it has.{shown}".removesuffix(".")
        return self.error(f"is not known: {whose} has no {name!r}", remedy)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A regular file that can be read and is not empty; CheckpointError if it is anything else."""

    location: Location
    path: str  # Absolute, so that a later `chdir` changes nothing.
    again: str = "download or copy it again"  # Remedy for a damaged file.
    absent: str | None = None  # Remedy for a missing file; None suggests a similar name in its folder.
    stamp: tuple[int, int, int] = field(init=False)  # Size, time and inode: they tell whether it was written again.

    def __post_init__(self) -> None:
        object.__setattr__(self, "stamp", self.check())

    def error(self, what: str, remedy: str | None = None) -> CheckpointError:
        """An error about this file; the remedy is to get it again unless one is given."""
        return self.location.error(what, remedy or self.again)

    def size(self) -> int:
        return os.stat(self.path).st_size

    def head(self) -> bytes:
        """The first bytes, which tell formats apart."""
        with open(self.path, "rb") as file:
            return file.read(512)

    def text_head(self) -> bytes:
        """`head` without the byte order mark and spaces that a text may begin with."""
        return self.head().removeprefix(b"\xef\xbb\xbf").lstrip()

    def check(self) -> tuple[int, int, int]:
        """The file's stamp now; CheckpointError if it is missing, not a regular file, empty or unreadable."""
        try:
            found = os.stat(self.path)
            if stat.S_ISDIR(found.st_mode):
                suffixes = (".pth", ".pt", ".bin", ".safetensors", ".index.json")
                files = [name for name in _listing(self.path) if name.endswith(suffixes)]
                example = f" in it, e.g. {files[0]!r}" if files else ""
                raise self.error("is a directory", f"give the path of a file{example}")
            if not stat.S_ISREG(found.st_mode):
                raise self.error("is not a regular file", "give the path of a file")
            head = self.head()
        except (FileNotFoundError, NotADirectoryError) as e:
            raise self.error("does not exist", self.absent or _remedy_for_missing(self.path)) from e
        except (OSError, ValueError) as e:
            reason = getattr(e, "strerror", None) or e
            raise self.error(f"cannot be read ({reason})", "give the path of a file that can be read") from e
        if not head:
            raise self.error("is empty")
        return _stamp(found)

    def require_unchanged(self) -> None:
        """Raise CheckpointError if the file is gone or was written again since it was opened."""
        with suppress(OSError):
            if _stamp(os.stat(self.path)) == self.stamp:
                return
        self.check()
        raise self.error("has changed since it was opened", "open it again")

    def require_digest(self, sha256: str | None) -> None:
        """Raise CheckpointError if the file's SHA-256 does not begin with `sha256`."""
        if sha256 is None:
            return
        try:
            found = remembered_sha256(self.path)
        except OSError as e:
            raise self.error(f"cannot be read ({e.strerror or e})") from e
        if not found.startswith(sha256):
            what = f"is not what it should be: sha256={sha256!r} was asked for, and its SHA-256 is {found}"
            raise self.error(what, "give the digest of this file, or the path of the other one")


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A path where `~` is expanded, or a folder, which means the checkpoint in it."""

    path: str
    is_shard: bool = False  # Whether an index names it.

    def fetch(self, location: Location, sha256: str | None) -> Source:
        """The file on this machine; errors are about `location`."""
        if not self.path:  # which would mean the current folder
            raise location.error("names no file", "give a path, a URL or a name")
        path = os.path.abspath(os.path.expanduser(self.path))
        if os.path.isdir(path):
            inside = _listing(path)
            usual = [name for name in USUAL_NAMES if name in inside]
            indexes = [name for name in inside if name.endswith(".index.json")]
            if usual or len(indexes) == 1:
                name = (usual or indexes)[0]
                location, path = location.means(f"its {name!r}"), os.path.join(path, name)
        absent = "get it from where its index is from, and put it beside that" if self.is_shard else None
        source = Source(location=location, path=path, absent=absent)
        source.require_digest(sha256)
        return source

    def sibling(self, name: str, path: str) -> LocalFile:
        """The file `name` in the folder of `path`, the local copy of this one."""
        return LocalFile(path=os.path.join(os.path.dirname(path), name), is_shard=True)


def sha256_of(path: str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def remembered_sha256(path: str) -> str:
    """`sha256_of`, computed again by this process only if the file's size or time has changed."""
    found = os.stat(path)
    return _remembered(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1024)
def _remembered(path: str, size: int, mtime_ns: int) -> str:
    return sha256_of(path)


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _remedy_for_missing(path: str) -> str:
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        return f"give the path of an existing file; there is no folder {folder!r} either"
    return f"give the path of an existing file.{nearest(name, _listing(folder))}".removesuffix(".")


def _listing(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:  # Reading the folder as a file says why it cannot be read.
        return []
