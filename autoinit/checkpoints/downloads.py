"""Downloads: the file of a URL, from the cache or fetched, verified and kept."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import shutil
import socket
import ssl
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

import torch

from ..errors import CheckpointError
from .reading import check_whole
from .source import Location, Source, remembered_sha256, sha256_of

SWITCH = "AUTOINIT_PROGRESS"  # Set to 0 in the environment, no progress bar is shown.
SECONDS = 30.0  # Timeout of each wait for the server.
_ELSEWHERE = "download it in another way, and give its path"
_PAGE = (
    "open the address in a browser to see; if it is a page about the file, give the address of the file itself "
    "(GitHub has /raw/ and Hugging Face /resolve/ in place of /blob/)"
)

_log = logging.getLogger("autoinit")


@dataclass(frozen=True, kw_only=True)
class WebFile:
    """A URL, http or https."""

    url: str

    def fetch(self, location: Location, sha256: str | None) -> Source:
        """The file on this machine, without a request if the cache has it; errors are about `location`.

        If it cannot be fetched or kept, or is not a whole checkpoint that has the digest which the user or its name
        gives, what was in the cache before is intact.
        """
        location = location.means(self.url)
        path = str(_download(self.url, location, sha256))
        return Source(location=location, path=path, again=f"remove {path!r}, and it is downloaded again")

    def sibling(self, name: str, path: str) -> WebFile:
        """The file `name` beside this one."""
        return WebFile(url=urljoin(self.url, quote(name)))


def _download(url: str, location: Location, sha256: str | None) -> Path:
    from filelock import FileLock

    # Replace characters that some system does not allow in file names.
    name = re.sub(r"[^A-Za-z0-9._+=-]", "_", unquote(urlsplit(url).path).rpartition("/")[2])
    name = name[-120:].lstrip(".") or "checkpoint"
    wanted = sha256 or named_digest(name)
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    # Two URLs have two folders, whatever their files are called.
    file = hub / "autoinit" / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    # Files of torch.hub and mmengine go by the name alone, which any URL may end with: only the digest tells.
    for known in (file, *([hub / name] if named_digest(name) else [])):
        if _is_usable(known, wanted, location):
            return known
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock"):
            # Another process may have fetched it while this one waited.
            if not _is_usable(file, wanted, location):
                _fetch(url, file, location, sha256)
    except (OSError, NotImplementedError) as e:  # The latter where a file system has no locks.
        what = f"cannot be kept in {str(file.parent)!r} ({getattr(e, 'strerror', None) or e})"
        raise location.error(what, "set TORCH_HOME to a folder that can be written to and has room") from e
    return file


def named_digest(name: str) -> str | None:
    """The digest, or its beginning, that a file's name ends with; not one of decimal digits, which may be a date."""
    found = [digest for digest in re.findall(r"-([0-9a-f]{8,64})\.", name) if not digest.isdigit()]
    return found[-1] if found else None


def _is_usable(file: Path, wanted: str | None, location: Location) -> bool:
    """Whether a file has the wanted digest; without one, whether it is a whole checkpoint."""
    try:
        if wanted is not None:
            return remembered_sha256(str(file)).startswith(wanted)
        check_whole(Source(location=location, path=str(file)))
    except (OSError, CheckpointError):
        return False
    return True


def _fetch(url: str, file: Path, location: Location, sha256: str | None) -> None:
    """Download to a file beside `file`, which replaces `file` when it has been verified."""
    for left in file.parent.glob("*.partial"):  # By a process that was killed.
        left.unlink()
    arrived = file.with_name(f"{file.name}.partial")
    _log.info("downloading %s to %s", url, file)
    try:
        try:
            _transfer(url, arrived)
        except urllib.error.HTTPError as e:
            with e:
                raise location.error(*_on_status(e)) from e
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as e:
            raise location.error(*_on_connection(e.reason if isinstance(e, urllib.error.URLError) else e)) from e
        except ValueError as e:  # A host that cannot be encoded, or a length that is not a number.
            raise location.error(f"could not be fetched: {e}", f"check the address, or {_ELSEWHERE}") from e
        found, named = sha256_of(str(arrived)), named_digest(file.name)
        if not found.startswith(sha256 or named or ""):
            said = f"sha256={sha256!r} was asked for" if sha256 else f"its name says {named!r}"
            raise location.error(
                f"is not what it should be: {said}, and the SHA-256 of what arrived is {found}",
                f"download it again later; or, if you know that this is the file, say so with sha256={found!r}",
            )
        source = Source(location=location, path=str(arrived))
        if source.text_head().startswith(b"<"):
            raise location.error("is answered with an HTML or XML page, not with weights", _PAGE)
        check_whole(source)
        os.replace(arrived, file)
    finally:
        arrived.unlink(missing_ok=True)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https, but not from https to http: another server could replace the file there."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        to = urlsplit(newurl).scheme
        if to != "https" and to != urlsplit(req.full_url).scheme:
            why = f"a redirect from https to {to} is not followed" if to == "http" else f"it redirects to {to}"
            raise urllib.error.HTTPError(req.full_url, code, why, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _transfer(url: str, to: Path) -> None:
    """Write the body of a URL's response to a file; ConnectionError if fewer bytes arrive than were announced."""
    from rich.console import Console
    from rich.progress import wrap_file

    shows_progress = sys.stderr.isatty() and os.environ.get(SWITCH) != "0"
    request = urllib.request.Request(url, headers={"User-Agent": "torch-autoinit"})
    opener = urllib.request.build_opener(_SafeRedirects)
    with opener.open(request, timeout=SECONDS) as response, to.open("wb") as file:
        announced = response.headers.get("Content-Length")
        size = int(announced) if announced is not None else 0
        with wrap_file(
            response, size, description=to.stem, console=Console(stderr=True), disable=not shows_progress
        ) as body:
            shutil.copyfileobj(body, file)
        arrived = file.tell()
    if arrived < size:
        raise ConnectionError(f"{arrived:,} of {size:,} bytes arrived")


def _on_status(error: urllib.error.HTTPError) -> tuple[str, str]:
    # urllib says why it does not follow a redirect; what servers say is not shown.
    reason = http.client.responses.get(error.code, "") if error.code >= 400 else str(error.reason).partition("\n")[0]
    answer = f"{error.code} {reason}".rstrip()
    if error.code in (404, 410):
        return f"does not exist on its server ({answer})", "check the address"
    if error.code in (401, 403, 407):
        return f"is not for everybody ({answer})", f"if you have access, {_ELSEWHERE}"
    if error.code in (408, 425, 429) or error.code >= 500:
        return f"could not be fetched: its server answers {answer}", "try again later"
    return f"cannot be fetched, its server answers {answer}", f"check the address, or {_ELSEWHERE}"


def _on_connection(reason: str | BaseException) -> tuple[str, str]:
    if isinstance(reason, ssl.SSLCertVerificationError):
        what = f"cannot be fetched: its server's certificate is not valid ({reason.verify_message})"
        return what, "if a proxy of your own is in between, name its certificate in SSL_CERT_FILE"
    if isinstance(reason, socket.gaierror):
        what = "cannot be fetched: its server cannot be found"
        return what, f"check the address and the network, or {_ELSEWHERE}"
    if isinstance(reason, (str, http.client.InvalidURL)):
        return f"is no address that can be fetched ({reason})", "check the address"
    return f"could not be fetched: the connection failed ({reason or type(reason).__name__})", "try again"
