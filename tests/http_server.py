"""A web server that does as it is told: it truncates, stalls, redirects, lies, and counts what it is asked."""

from __future__ import annotations

import http.server
import pathlib
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

CERTIFICATE = pathlib.Path(__file__).parent / "data" / "localhost.pem"

Handler = http.server.BaseHTTPRequestHandler
Act = Callable[[Handler], None]
"""What to do with one request."""


@dataclass
class Server:
    """What a test says to a server and learns from it.

    Args:
        root: its address, without a slash at the end.
        acts: by path; each request takes the first, and the last is taken again and again.
        requests: paths and headers, in order.
        otherwise: what happens at every other path.
    """

    root: str
    acts: dict[str, list[Act]] = field(default_factory=dict)
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    otherwise: Act = field(default_factory=lambda: status(404))
    gate: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, path: str, *acts: Act) -> str:
        """Script what happens at a path; gives its URL."""
        self.acts[path] = list(acts)
        return self.root + path

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]

    def handle(self, handler: Handler) -> None:
        path = handler.path.partition("?")[0]
        with self.lock:
            self.requests.append((handler.path, dict(handler.headers)))
            acts = self.acts.get(path, [self.otherwise])
            act = acts[0] if len(acts) == 1 else acts.pop(0)
        act(handler)


@contextmanager
def running_server(*, tls: bool = False) -> Iterator[Server]:
    """A server on a free port of this machine, for a block; with `tls` of a certificate that it signed."""

    class Scripted(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            with suppress(ConnectionError):  # Whoever asked has seen enough.
                server.handle(self)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    listening.daemon_threads = True
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
    server = Server(root=f"http{'s' if tls else ''}://127.0.0.1:{listening.server_port}")
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.gate.set()
        listening.shutdown()
        listening.server_close()
        thread.join()


def answer(handler: Handler, code: int, headers: Mapping[str, object], body: bytes = b"") -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name, str(value))
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(body)


def serve(
    data: bytes,
    *,
    etag: str | None = '"one"',
    modified: str | None = None,
    ranges: bool = True,
    kind: str = "application/octet-stream",
    announced: int | None = None,
    stop: int | None = None,
    headers: Mapping[str, object] | None = None,
) -> Act:
    """Serve a file, whole or the range that is asked for.

    Args:
        announced: its length, if that is to be a lie.
        stop: break off after so many bytes of this answer.
        ranges: whether to heed ranges.
        headers: others.
    """

    def act(handler: Handler) -> None:
        extra: dict[str, object] = {"Content-Type": kind, **(headers or {})}
        if etag:
            extra["ETag"] = etag
        if modified:
            extra["Last-Modified"] = modified
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        unchanged = handler.headers.get("If-Range") in (None, etag, modified)
        start = int(asked[1]) if asked and ranges and unchanged else 0
        length = len(data) if announced is None else announced
        if start:
            extra["Content-Range"] = f"bytes {start}-{length - 1}/{length}"
        body = data[start:] if stop is None else data[start : start + stop]
        answer(handler, 206 if start else 200, {**extra, "Content-Length": length - start}, body)

    return act


def status(code: int, **headers: object) -> Act:
    return lambda handler: answer(handler, code, {"Content-Length": 0, **headers})


def redirect(to: str, code: int = 302) -> Act:
    return status(code, Location=to)


def page(text: str = "<!doctype html><title>Sign in</title>", kind: str = "text/html; charset=utf-8") -> Act:
    return lambda handler: answer(handler, 200, {"Content-Type": kind, "Content-Length": len(text)}, text.encode())


def chunked(data: bytes, *, times: int = 1, end: bool = True) -> Act:
    """Serve `data` again and again, in chunks, with no length announced."""

    def act(handler: Handler) -> None:
        answer(handler, 200, {"Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"})
        for _ in range(times):
            handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if end:
            handler.wfile.write(b"0\r\n\r\n")

    return act


def hang_up(handler: Handler) -> None:
    """Say nothing."""


def stalled(server: Server, before: Act) -> Act:
    """Do something, then nothing any more, while the connection stays open."""

    def act(handler: Handler) -> None:
        before(handler)
        handler.wfile.flush()
        server.gate.wait(60)

    return act
