"""Where downloaded files are kept, and which of them are what was asked for."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import torch

from .digests import digest_of, named_digest, remembered_digest

_LONGEST_NAME = 120
_UNSAFE = re.compile(r"[^A-Za-z0-9._+=-]")


@dataclass(frozen=True, kw_only=True)
class Note:
    """What is known of a file that was verified.

    Args:
        url: where it is from.
        path: where it is, as seen from the folder of the note: the cache may be moved.
        size: in bytes.
        mtime_ns: when it was last written.
        sha256: of its contents, in hexadecimal.
    """

    url: str
    path: str
    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, file: Path, folder: Path, url: str, sha256: str) -> Note:
        """Describe a file as it is now, in a note that will be in `folder`."""
        found, path = file.stat(), os.path.relpath(file, folder)
        return cls(url=url, path=path, size=found.st_size, mtime_ns=found.st_mtime_ns, sha256=sha256)

    @classmethod
    def read(cls, path: Path) -> Note | None:
        """The note in a file; None if there is none that can be read."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write it to a file, at once."""
        new = path.with_name(f"{path.name}.{os.getpid()}.new")
        new.write_text(json.dumps(asdict(self)))
        os.replace(new, path)

    def holds(self, file: Path) -> bool:
        """Whether a file is what was verified. It is read again only if its size or time has changed."""
        if not file.is_file():
            return False
        found = file.stat()
        unchanged = (found.st_size, found.st_mtime_ns) == (self.size, self.mtime_ns)
        return unchanged or remembered_digest(str(file)) == self.sha256


@dataclass(frozen=True, kw_only=True)
class Slot:
    """The place of one URL in the cache.

    Two URLs have two folders, whatever their files are called.

    Args:
        url: http or https.
        hub: the folder of torch.hub and mmengine, in which the cache is a folder.
    """

    url: str
    hub: Path

    @property
    def name(self) -> str:
        """The file's name in the URL, as any system can write it."""
        name = unquote(urlsplit(self.url).path).rpartition("/")[2]
        return _UNSAFE.sub("_", name)[-_LONGEST_NAME:].lstrip(".") or "checkpoint"

    @property
    def folder(self) -> Path:
        return self.hub / "autoinit" / hashlib.sha256(self.url.encode()).hexdigest()[:16]

    @property
    def file(self) -> Path:
        return self.folder / self.name

    @property
    def partial(self) -> Path:
        """What has arrived of a file that is not complete."""
        return self.folder / f"{self.name}.partial"

    def find(self, wanted: str | None) -> Path | None:
        """A file that is here already, from this library or another.

        Args:
            wanted: what its SHA-256 begins with; None if nobody said.

        Returns:
            None if there is none, if it was damaged since it was fetched, or if it is another than was wanted.
        """
        note = Note.read(self._note)
        if note is not None:
            file = Path(os.path.normpath(self.folder / note.path))
            if note.holds(file):
                return file if note.sha256.startswith(wanted or "") else None
        return self._of_another_library(wanted) if wanted and named_digest(self.name) else None

    def _of_another_library(self, wanted: str) -> Path | None:
        """Those go by the name alone, which may have come from any URL: only its digest tells."""
        file = self.hub / self.name
        try:
            found = digest_of(str(file))
        except OSError:  # There is none, or none that this user may read.
            return None
        if not found.startswith(wanted):
            return None
        with suppress(OSError):  # Where nothing can be written, it is verified again each time.
            self.folder.mkdir(parents=True, exist_ok=True)
            Note.of(file, self.folder, self.url, found).write(self._note)
        return file

    def keep(self, sha256: str) -> Path:
        """Put the partial file, whose digest this is, in its place, at once and for good."""
        self.partial.with_name(self.partial.name + ".json").unlink(missing_ok=True)
        os.replace(self.partial, self.file)
        Note.of(self.file, self.folder, self.url, sha256).write(self._note)
        return self.file

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within the block no other process or thread downloads this URL."""
        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / f"{self.name}.lock"):
            yield

    @property
    def _note(self) -> Path:
        return self.folder / f"{self.name}.json"


def slot_of(url: str) -> Slot:
    """The place of a URL in the cache, which is in `torch.hub.get_dir()`."""
    return Slot(url=url, hub=Path(torch.hub.get_dir()) / "checkpoints")
