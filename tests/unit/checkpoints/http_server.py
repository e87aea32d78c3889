"""A web server that serves, truncates, redirects, lies about lengths, and notes what it is asked for."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

CERTIFICATE = Path(__file__).parents[2] / "data" / "localhost.pem"

Handler = http.server.BaseHTTPRequestHandler
Act = Callable[[Handler], None]
"""What to do with one request."""


@dataclass
class Server:
    """What a test says to a server and learns from it."""

    root: str  # Its address, without a slash at the end.
    acts: dict[str, list[Act]] = field(default_factory=dict)  # Each request takes the first; the last is taken again.
    requests: list[str] = field(default_factory=list)  # Paths, in order.
    otherwise: Act = field(default_factory=lambda: status(404))  # What happens at every other path.
    gate: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, path: str, *acts: Act) -> str:
        """Script what happens at a path; gives its URL."""
        self.acts[path] = list(acts)
        return self.root + path

    def handle(self, handler: Handler) -> None:
        with self.lock:
            self.requests.append(handler.path)
            acts = self.acts.get(handler.path.partition("?")[0], [self.otherwise])
            act = acts[0] if len(acts) == 1 else acts.pop(0)
        act(handler)


@contextmanager
def running_server(*, tls: bool = False) -> Iterator[Server]:
    """A server on a free port of this machine, for a block; with `tls` of a certificate that it signed."""

    class Scripted(Handler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            with suppress(ConnectionError):  # The client has seen enough.
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


def answer(code: int, body: bytes = b"", **headers: object) -> Act:
    """Send a response; underscores in the names of headers stand for hyphens."""

    def act(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body)

    return act


def serve(data: bytes, *, announced: object = None, stop: int | None = None, **headers: object) -> Act:
    """Serve a file, perhaps with a wrong length, or broken off after `stop` bytes."""
    return answer(200, data[:stop], Content_Length=len(data) if announced is None else announced, **headers)


def status(code: int, **headers: object) -> Act:
    return answer(code, Content_Length=0, **headers)


def redirect(to: str, code: int = 302) -> Act:
    return status(code, Location=to)


def page(text: str = "<!doctype html><title>Sign in</title>") -> Act:
    """Serve an HTML page."""
    return serve(text.encode(), Content_Type="text/html")


def chunked(data: bytes, *, end: bool = True) -> Act:
    """Serve a file in one chunk, with no length announced."""
    return answer(200, f"{len(data):x}\r\n".encode() + data + b"\r\n" + b"0\r\n\r\n" * end, Transfer_Encoding="chunked")


def hang_up(handler: Handler) -> None:
    """Close the connection without an answer."""
