"""Requests over http and https, and nothing that leads away from them."""

from __future__ import annotations

import urllib.request
from http.client import HTTPMessage, HTTPResponse
from typing import IO
from urllib.parse import urljoin, urlsplit

from .verdicts import RefusedError

MOST = 10


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http, not to another scheme, and not for ever."""

    max_redirections = MOST

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> HTTPResponse | None:
        fp.close()  # Unread: what is said beside a redirect may have no end.
        target = headers.get("Location") or headers.get("URI")
        if target is None:
            raise RefusedError(f"is redirected ({code}), but not to anywhere")
        try:
            there = urlsplit(urljoin(req.full_url, target))
        except ValueError as e:
            raise RefusedError("is redirected to something that is no address") from e
        scheme = there.scheme.lower()
        if scheme not in ("http", "https"):
            raise RefusedError(f"is redirected to a {scheme or 'strange'} address, which was refused")
        if req.full_url.lower().startswith("https:") and scheme == "http":
            what = f"is redirected from https to unprotected http, to {there.hostname}, which was refused"
            raise RefusedError(what, "if you trust that, give the http address itself")
        visited = getattr(req, "redirect_dict", {})
        if len(visited) >= MOST or max(visited.values(), default=0) >= self.max_repeats:
            raise RefusedError(f"is redirected in a circle, or more than {MOST} times")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        # Python 3.10 does not know 308, which differs from 307 in nothing that matters here.
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)


def opener() -> urllib.request.OpenerDirector:
    """What opens a request: through the proxies of the environment, and with no file:, ftp: or data: addresses."""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        Redirects(),
    ):
        director.add_handler(handler)
    return director
