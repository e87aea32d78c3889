"""What a server says of a body before it sends it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from http.client import HTTPResponse
from typing import Any

from .verdicts import ChangedError, RefusedError

_LENGTH = re.compile("[0-9]{1,18}")
_RANGE = re.compile("bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_PAGE = (
    "open the address in a browser to see; if it is a page about the file, give the address of the file itself "
    "(GitHub has /raw/ and Hugging Face /resolve/ in place of /blob/)"
)


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """What a body is part of.

    Args:
        start: where in the file the body begins.
        total: bytes of the whole file; None if the server does not say.
        validator: an ETag or a date, by which a later request can ask for the rest of the same file; None if there
            is none that would do.
    """

    start: int
    total: int | None
    validator: str | None

    def continues(self, before: Announcement) -> bool:
        """Whether it is the rest of what was announced before; a server need not say everything again."""
        return before.total in (None, self.total) and self.validator in (None, before.validator)

    def to_dict(self) -> dict[str, Any]:
        """To be written beside a file that is not complete."""
        return asdict(self)


def announcement(response: HTTPResponse, asked_from: int) -> Announcement:
    """Read a response's head.

    Args:
        response: of status 200 or the like.
        asked_from: where the range that was asked for begins; 0 if none was.

    Raises:
        RefusedError: it is not a file.
        ChangedError: it is another range than was asked for.
    """
    _require_a_file(response)
    validator = _validator(response)
    length = response.headers.get("Content-Length", "")
    if response.status == 206:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        first, last, total = map(int, found.groups()) if found else (-1, -1, -1)
        if first != asked_from or not first <= last < total:
            raise ChangedError("another range than was asked for")
        return Announcement(start=asked_from, total=total, validator=validator)
    return Announcement(start=0, total=int(length) if _LENGTH.fullmatch(length) else None, validator=validator)


def require_no_page(beginning: bytes) -> None:
    """Refuse a body that begins as a page does.

    Raises:
        RefusedError: it does.
    """
    if beginning.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise RefusedError("is answered with an HTML or XML page, not with weights", _PAGE)


def _require_a_file(response: HTTPResponse) -> None:
    if response.status not in (200, 206):
        raise RefusedError(f"cannot be fetched, its server answers {response.status} {response.reason}")
    kind = response.headers.get_content_type()
    if kind in ("text/html", "application/xhtml+xml"):
        raise RefusedError(f"is answered with an HTML page ({kind}), not with weights", _PAGE)
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", ""):
        raise RefusedError(f"is sent compressed ({encoding}), although that was not asked for")


def _validator(response: HTTPResponse) -> str | None:
    """A weak ETag stands for files that are alike, not the same byte by byte."""
    if response.headers.get("Accept-Ranges", "").lower() == "none":
        return None
    etag = response.headers.get("ETag", "")
    found = etag if etag.startswith('"') else "" if etag else response.headers.get("Last-Modified", "")
    return found if found and found.isascii() and found.isprintable() else None
