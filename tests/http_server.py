"""A web server that serves, truncates, redirects, lies about lengths, and notes what it is asked for."""

from __future__ import annotations

import http.server
import pathlib
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
        requests: Paths, in order.
        otherwise: what happens at every other path.
    """

    root: str
    acts: dict[str, list[Act]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    otherwise: Act = field(default_factory=lambda: status(404))
    gate: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, path: str, *acts: Act) -> str:
        """Script what happens at a path; gives its URL."""
        self.acts[path] = list(acts)
        return self.root + path

    def handle(self, handler: Handler) -> None:
        path = handler.path.partition("?")[0]
        with self.lock:
            self.requests.append(handler.path)
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
    data: bytes, *, announced: object = None, stop: int | None = None, headers: Mapping[str, object] | None = None
) -> Act:
    """Serve a file.

    Args:
        announced: Its length, if that is to be a lie.
        stop: Bytes after which to break off.
        headers: Additional headers.
    """

    def act(handler: Handler) -> None:
        length = len(data) if announced is None else announced
        said = {"Content-Type": "application/octet-stream", "Content-Length": length, **(headers or {})}
        answer(handler, 200, said, data[:stop])

    return act


def status(code: int, **headers: object) -> Act:
    return lambda handler: answer(handler, code, {"Content-Length": 0, **headers})


def redirect(to: str, code: int = 302) -> Act:
    return status(code, Location=to)


def page(text: str = "<!doctype html><title>Sign in</title>") -> Act:
    """Serve an HTML page."""
    data = text.encode()
    return lambda handler: answer(handler, 200, {"Content-Type": "text/html", "Content-Length": len(data)}, data)


def chunked(data: bytes, *, end: bool = True) -> Act:
    """Serve a file in one chunk, with no length announced."""

    def act(handler: Handler) -> None:
        answer(handler, 200, {"Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"})
        handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n" + (b"0\r\n\r\n" if end else b""))

    return act


def hang_up(handler: Handler) -> None:
    """Close the connection without an answer."""
