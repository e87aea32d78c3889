"""One URL into one file, over as many connections as it takes."""

from __future__ import annotations

import http.client
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .redirects import opener
from .responses import Announcement, announcement, require_no_page
from .verdicts import (
    ChangedError,
    InterruptedTransferError,
    RefusedError,
    connection_error,
    status_error,
)

TIMEOUT = 30.0
"""Seconds without a byte after which a connection is given up."""
ATTEMPTS = 5
"""Connections in a row that bring less than `PROGRESS` before a transfer is given up."""
PROGRESS = 1 << 20
PAUSE = 0.5
"""Seconds before the second attempt; twice as many before each further one."""
LONGEST_PAUSE = 60.0
UNANNOUNCED = 8 << 30
"""Bytes after which a body is refused whose length the server does not say."""
RESERVE = 64 << 20
"""Bytes of the disk that are left free."""

_PIECE = 1 << 20
_MAKE_ROOM = "make room, set TORCH_HOME to a folder on another disk, or download it in another way and give its path"

Shown = Callable[[int, "int | None"], None]


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A URL on its way into a file.

    Args:
        url: http or https.
        path: the file. What is in it already is continued, if the server still has the same.
        shown: is told how many bytes there are, and how many there will be.
    """

    url: str
    path: Path
    shown: Shown

    def run(self) -> None:
        """Fetch what is missing, and try again for a while if the connection breaks.

        Raises:
            RefusedError: the server has no such file, cannot be found, or sends something else, which is removed.
            InterruptedTransferError: the connection broke too often; the file is kept, to be continued.
            OSError: the file cannot be written.
        """
        most, failures = self._size(), 0
        while True:
            try:
                self._attempt()
                return
            except ChangedError:
                self.discard()
                error = InterruptedTransferError("its server keeps sending other parts than it was asked for")
            except InterruptedTransferError as e:
                error = e
            # Beyond what there ever was: a server that sends the beginning again and again is not asked for ever.
            failures = 1 if self._size() - most >= PROGRESS else failures + 1
            most = max(most, self._size())
            if failures >= ATTEMPTS:
                raise error
            time.sleep(min(max(PAUSE * 2 ** (failures - 1), error.pause), LONGEST_PAUSE))

    def discard(self) -> None:
        """Remove the file, complete or not."""
        for path in (self.path, self._note):
            path.unlink(missing_ok=True)

    @property
    def _note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _attempt(self) -> None:
        known = self._known()
        have = self._size() if known and known.validator else 0
        if known and have and have == known.total:
            return
        request = urllib.request.Request(self.url, headers={"User-Agent": "autoinit", "Accept-Encoding": "identity"})
        if known and known.validator and have:
            request.add_header("Range", f"bytes={have}-")
            request.add_header("If-Range", known.validator)
        with _answer(request) as response:
            found = announcement(response, have)
            if found.start and known and not found.continues(known):
                raise ChangedError("another file than before")
            self._receive(response, found)

    def _known(self) -> Announcement | None:
        """What was announced of the file that is there in part."""
        try:
            return Announcement(**json.loads(self._note.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _receive(self, response: http.client.HTTPResponse, found: Announcement) -> None:
        room = self._room()
        if found.total is not None and found.total - found.start > room:
            needed = f"{found.total - found.start:,} bytes are to come, {room:,} are free in {self.path.parent}"
            raise RefusedError(f"is too large for the disk: {needed}", _MAKE_ROOM)
        try:
            with open(self.path, "ab" if found.start else "wb") as file:
                if found.start == 0:  # Not before the file is empty: it would be said of what was there.
                    self._note.write_text(json.dumps(found.to_dict()))
                have = self._copy(response, file, found, min(room, UNANNOUNCED))
        except RefusedError:
            self.discard()
            raise
        if found.total is not None and have < found.total:
            raise InterruptedTransferError(f"the connection ended after {have:,} of {found.total:,} bytes")

    def _copy(self, response: http.client.HTTPResponse, file: IO[bytes], found: Announcement, most: int) -> int:
        # The library would cut off without a word what comes after the announced length.
        response.length = None
        have = found.start
        while found.total is None or have < found.total:
            piece = _read(response)
            if not piece:
                break
            if have == 0:
                require_no_page(piece)
            have += len(piece)
            if have > (most if found.total is None else found.total):
                raise _too_long(found.total, most)
            file.write(piece)
            self.shown(have, found.total)
        return have

    def _room(self) -> int:
        return max(shutil.disk_usage(self.path.parent).free - RESERVE, 0)


def _answer(request: urllib.request.Request) -> http.client.HTTPResponse:
    try:
        answer: http.client.HTTPResponse = opener().open(request, timeout=TIMEOUT)
        return answer
    except urllib.error.HTTPError as e:
        with e:
            raise status_error(e) from e
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise connection_error(e) from e


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_PIECE)
    except (OSError, http.client.HTTPException) as e:
        raise connection_error(e) from e


def _too_long(total: int | None, most: int) -> RefusedError:
    if total is not None:
        return RefusedError(f"is longer than the {total:,} bytes that its server announced")
    return RefusedError(f"has no end: its server announced no length, and goes on after {most:,} bytes", _MAKE_ROOM)
