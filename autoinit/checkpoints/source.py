"""A file that holds a checkpoint, or a shard of one."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ..errors import CheckpointError, nearest
from .location import Location

_HEAD = 512
_AGAIN = "download or copy it again"

Stamp = tuple[int, int, int]
"""Size, time of the last change, inode: what differs when a file was written again."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that exists, is not empty and can be read; equal to another of the same location.

    Args:
        location: The location that the file is of, for errors.
        path: Absolute path, so that a later `chdir` changes nothing.
        again: Remedy for a damaged file.
        absent: Remedy for a missing file; None for the name of a similar file beside it.
        stamp: What the file was when it was found.
    """

    location: Location
    path: str = field(compare=False)
    again: str = field(default=_AGAIN, compare=False)
    absent: str | None = field(default=None, compare=False)
    stamp: Stamp = field(default=(0, 0, 0), compare=False)

    @classmethod
    def at(cls, location: Location, path: str, *, again: str = _AGAIN, absent: str | None = None) -> Source:
        """The file at a path.

        Raises:
            CheckpointError: It is missing, not a regular file, empty or unreadable.
        """
        source = cls(location=location, path=path, again=again, absent=absent)
        return replace(source, stamp=source.check())

    def error(self, what: str, remedy: str | None = None) -> CheckpointError:
        """What every error about this file looks like: where, what, remedy (to get the file again)."""
        return self.location.error(what, remedy or self.again)

    def size(self) -> int:
        return os.stat(self.path).st_size

    def head(self) -> bytes:
        """The first bytes, which tell formats apart."""
        with open(self.path, "rb") as file:
            return file.read(_HEAD)

    def check(self) -> Stamp:
        """What the file is now.

        Raises:
            CheckpointError: It is missing, not a regular file, empty or unreadable.
        """
        try:
            found = os.stat(self.path)
            if stat.S_ISDIR(found.st_mode):
                raise self.error("is a directory", f"give the path of a file{_inside(self.path)}")
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
        """Require the file to be what it was when it was found.

        Raises:
            CheckpointError: It is gone, or was written again.
        """
        with suppress(OSError):
            if _stamp(os.stat(self.path)) == self.stamp:
                return
        self.check()
        raise self.error("has changed since it was opened", "open it again")


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _inside(folder: str) -> str:
    suffixes = (".pth", ".pt", ".bin", ".safetensors", ".index.json")
    files = [name for name in _listing(folder) if name.endswith(suffixes)]
    return f" in it, e.g. {files[0]!r}" if files else ""


def _remedy_for_missing(path: str) -> str:
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        return f"give the path of an existing file; there is no folder {folder!r} either"
    return f"give the path of an existing file.{nearest(name, _listing(folder))}".removesuffix(".")


def _listing(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
