"""Where a checkpoint is: a location as the user wrote it, the file it means, and who asked for it."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field

from ..errors import CheckpointError, nearest

_HEAD = 512
_SCHEME = re.compile(r"[A-Za-z][\w+.:-]*://")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that exists, is not empty and can be read; equal to another of the same location.

    Args:
        location: the path as the user wrote it.
        path: the absolute path, so that a later `chdir` changes nothing.
        origin: where the location was written, e.g. `init_cfg[0]`.
    """

    location: str
    path: str = field(compare=False)
    origin: str | None = field(default=None, compare=False)

    def error(self, what: str, remedy: str) -> CheckpointError:
        """What every error about this file looks like: where, what, remedy."""
        return _error(self.location, what, remedy, self.origin)

    def size(self) -> int:
        return os.stat(self.path).st_size

    def head(self) -> bytes:
        """The first bytes, which tell formats apart."""
        with open(self.path, "rb") as file:
            return file.read(_HEAD)

    def check(self) -> None:
        """Raise a CheckpointError if the file is missing, no regular file, empty or unreadable."""
        try:
            mode = os.stat(self.path).st_mode
            if stat.S_ISDIR(mode):
                raise self.error("is a directory", f"give the path of a file{_inside(self.path)}")
            if not stat.S_ISREG(mode):
                raise self.error("is not a regular file", "give the path of a file")
            head = self.head()
        except (FileNotFoundError, NotADirectoryError) as e:
            raise self.error("does not exist", _remedy_for_missing(self.path)) from e
        except (OSError, ValueError) as e:
            reason = getattr(e, "strerror", None) or e
            raise self.error(f"cannot be read ({reason})", "give the path of a file that can be read") from e
        if not head:
            raise self.error("is empty", "download or copy it again")


def locate(location: object, *, origin: str | None = None) -> Source:
    """Find the file that `location` means.

    Args:
        location: a local path; `~` is expanded.
        origin: where it was written, for errors.

    Raises:
        CheckpointError: it is no path, a URL or another remote scheme, missing, no regular file, empty
            or unreadable.

    Example:
        >>> locate("http://x.org/r.pth", origin="cfg")
        Traceback (most recent call last):
          ...
        autoinit.errors.CheckpointError: cfg: checkpoint 'http://x.org/r.pth' is remote, and remote schemes \
are not supported yet: download the file and give its path
    """
    written = os.fspath(location) if isinstance(location, os.PathLike) else location
    if not isinstance(written, str):
        raise _error(location, "is not a path", "give the path of a file as a string", origin)
    if _SCHEME.match(written):
        raise _error(
            written,
            "is remote, and remote schemes are not supported yet",
            "download the file and give its path",
            origin,
        )
    source = Source(location=written, path=os.path.abspath(os.path.expanduser(written)), origin=origin)
    source.check()
    return source


def _inside(folder: str) -> str:
    suffixes = (".pth", ".pt", ".bin", ".safetensors")
    files = sorted(name for name in _listing(folder) if name.endswith(suffixes))
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


def _error(location: object, what: str, remedy: str, origin: str | None) -> CheckpointError:
    where = f"{origin}: " if origin else ""
    return CheckpointError(f"{where}checkpoint {location!r} {what}: {remedy}", origin=origin)
