"""Why a download does not go on: for good, for now, or from where it was."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
from http import HTTPStatus

_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
_ELSEWHERE = "download it in another way, and give its path"


class RefusedError(Exception):
    """What the server sends is not what was asked for; trying again would not help."""

    def __init__(self, what: str, remedy: str = _ELSEWHERE) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class InterruptedTransferError(Exception):
    """The connection failed, or the server is busy; what has arrived can be used."""

    def __init__(self, what: str, pause: float = 0.0) -> None:
        super().__init__(what)
        self.what = what
        self.pause = pause
        """Seconds that the server asks to wait."""


class ChangedError(Exception):
    """What has arrived belongs to something else than what the server has now."""


def status_error(error: urllib.error.HTTPError) -> Exception:
    """The verdict on an answer that is an error."""
    code = error.code
    answer = f"{code} {HTTPStatus(code).phrase}" if code in HTTPStatus._value2member_map_ else str(code)
    if code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return ChangedError(answer)
    if code in _LATER:
        return InterruptedTransferError(f"its server answers {answer}", _retry_after(error))
    if code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return RefusedError(f"does not exist on its server ({answer})", "check the address")
    if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED):
        return RefusedError(f"is not for everybody ({answer})", f"if you have access, {_ELSEWHERE}")
    return RefusedError(f"cannot be fetched, its server answers {answer}", f"check the address, or {_ELSEWHERE}")


def connection_error(error: Exception) -> Exception:
    """The verdict on a connection that could not be made, or broke."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        what = f"cannot be fetched: its server's certificate is not valid ({reason.verify_message})"
        return RefusedError(what, "if a proxy of your own is in between, name its certificate in SSL_CERT_FILE")
    if isinstance(reason, socket.gaierror):
        what = "cannot be fetched: its server cannot be found"
        return RefusedError(what, f"check the address and the network, or {_ELSEWHERE}")
    if isinstance(reason, (str, http.client.InvalidURL, ValueError)):
        return RefusedError(f"is no address that can be fetched ({reason})", "check the address")
    if isinstance(reason, TimeoutError):
        return InterruptedTransferError("its server has stopped answering")
    if isinstance(reason, http.client.IncompleteRead):
        return InterruptedTransferError("the connection ended too early")
    return InterruptedTransferError(f"the connection failed ({reason or type(reason).__name__})")


def _retry_after(error: urllib.error.HTTPError) -> float:
    value = error.headers.get("Retry-After", "") if error.headers else ""
    return float(value) if value.isascii() and value.isdigit() else 0.0
