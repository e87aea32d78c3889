"""Downloads that are interrupted, and continued: by a server that stalls, breaks off, and changes the file."""

from __future__ import annotations

import io
import pathlib
import socket

import pytest
import torch

from autoinit.checkpoints import open_checkpoint
from autoinit.checkpoints.downloads import transfer

from .checkpoint_files import assert_whole, cached, error
from .http_server import (
    Act,
    Handler,
    Server,
    answer,
    chunked,
    hang_up,
    page,
    redirect,
    serve,
    stalled,
    status,
)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAUSE", 0.0)


def test_a_broken_connection_is_continued(server: Server, weights: bytes) -> None:
    url = server.on("/net.pth", serve(weights, stop=1000), serve(weights, stop=70_000), hang_up, serve(weights))
    assert_whole(open_checkpoint(url), weights)
    assert server.ranges() == [None, "bytes=1000-", "bytes=71000-", "bytes=71000-"]
    assert all(headers.get("If-Range") == '"one"' for _, headers in server.requests[1:])


def test_a_date_serves_where_there_is_no_etag(server: Server, weights: bytes) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    url = server.on(
        "/net.pth", serve(weights, etag=None, modified=date, stop=5000), serve(weights, etag=None, modified=date)
    )
    assert_whole(open_checkpoint(url), weights)
    assert server.ranges() == [None, "bytes=5000-"]
    assert server.requests[1][1]["If-Range"] == date


def test_what_cannot_be_continued_starts_over(server: Server, weights: bytes) -> None:
    cases: list[tuple[Act, Act]] = [
        (serve(weights, etag='W/"weak"', stop=5000), serve(weights)),
        (serve(weights, etag=None, stop=5000), serve(weights)),
        (serve(weights, stop=5000, headers={"Accept-Ranges": "none"}), serve(weights)),
    ]
    for number, acts in enumerate(cases):
        server.requests.clear()
        assert_whole(open_checkpoint(server.on(f"/{number}.pth", *acts)), weights)
        assert server.ranges() == [None, None]


def test_a_server_that_ignores_ranges(server: Server, weights: bytes) -> None:
    url = server.on("/net.pth", serve(weights, stop=5000), serve(weights, ranges=False))
    assert_whole(open_checkpoint(url), weights)
    assert server.ranges() == [None, "bytes=5000-"]


def test_a_file_that_changes_on_the_server_starts_over(server: Server, weights: bytes) -> None:
    other = bytes(len(weights))
    url = server.on("/net.pth", serve(other, stop=5000), serve(weights, etag='"two"'))
    assert_whole(open_checkpoint(url), weights)
    # A server that answers with a range of the new file, in spite of If-Range.
    url = server.on("/other.pth", serve(other + b"x", stop=5000), lambda handler: liar(handler), serve(weights))

    def liar(handler: Handler) -> None:
        headers = {"Content-Range": f"bytes 5000-{len(weights) - 1}/{len(weights)}", "ETag": '"one"'}
        answer(handler, 206, {**headers, "Content-Length": len(weights) - 5000}, weights[5000:])

    assert_whole(open_checkpoint(url), weights)
    assert server.ranges()[-3:] == [None, "bytes=5000-", None]


def sealed(value: float) -> bytes:
    """Files of one length, of which any beginning fits any end."""
    buffer = io.BytesIO()
    torch.save({"w": torch.full((100_000,), value)}, buffer)
    return buffer.getvalue()


def test_a_file_of_one_length_and_another_tag_is_another_file(server: Server) -> None:
    one, two = sealed(1.0), sealed(2.0)
    assert len(one) == len(two)

    def rest_of_another(handler: Handler) -> None:
        headers = {"Content-Range": f"bytes 200000-{len(two) - 1}/{len(two)}", "ETag": '"two"'}
        answer(handler, 206, {**headers, "Content-Length": len(two) - 200_000}, two[200_000:])

    url = server.on("/net.pth", serve(one, stop=200_000), rest_of_another, serve(two, etag='"two"'))
    assert_whole(open_checkpoint(url), two)


def test_the_rest_need_not_name_its_tag(server: Server, weights: bytes) -> None:
    def rest(handler: Handler) -> None:
        said = {"Content-Range": f"bytes 5000-{len(weights) - 1}/{len(weights)}"}
        answer(handler, 206, {**said, "Content-Length": len(weights) - 5000}, weights[5000:])

    def beginning_of_unknown_length(handler: Handler) -> None:
        answer(handler, 200, {"Transfer-Encoding": "chunked", "ETag": '"one"'})
        handler.wfile.write(b"1388\r\n" + weights[:5000] + b"\r\n")

    for name, beginning in (("/a.pth", serve(weights, stop=5000)), ("/b.pth", beginning_of_unknown_length)):
        server.requests.clear()
        assert_whole(open_checkpoint(server.on(name, beginning, rest)), weights)
        assert server.ranges() == [None, "bytes=5000-"]


@pytest.mark.parametrize("first", [True, False], ids=["before the note", "after the note"])
def test_a_process_that_ends_while_it_starts_over(server: Server, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    one, two = sealed(1.0), sealed(2.0)
    url = server.on("/net.pth", serve(one, stop=200_000), hang_up)
    error(url)
    write = pathlib.Path.write_text

    def end(path: pathlib.Path, text: str) -> None:
        if not first:
            write(path, text)
        raise KeyboardInterrupt

    server.on("/net.pth", serve(two, etag='"two"'))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pathlib.Path, "write_text", end)
        open_checkpoint(url)
    assert_whole(open_checkpoint(url), two)


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 4000-4002/{size}",
        "bytes */{size}",
        "bytes 5000-5002/9",
        "bytes 5000-4000/{size}",
        f"bytes 5000-{'9' * 5000}/{'9' * 5001}",
        "",
        "what",
    ],
    ids=["before", "unknown", "short", "backwards", "huge", "empty", "words"],
)
def test_another_range_than_was_asked_for(server: Server, weights: bytes, content_range: str) -> None:
    def strange(handler: Handler) -> None:
        said = content_range.format(size=len(weights))
        answer(handler, 206, {"Content-Range": said, "Content-Length": 3, "ETag": '"one"'}, b"abc")

    url = server.on("/net.pth", serve(weights, stop=5000), strange, serve(weights))
    assert_whole(open_checkpoint(url), weights)


def test_a_range_that_cannot_be_satisfied_starts_over(server: Server, weights: bytes) -> None:
    url = server.on("/net.pth", serve(weights, stop=5000), status(416), serve(weights))
    assert_whole(open_checkpoint(url), weights)
    assert server.ranges() == [None, "bytes=5000-", None]


def test_a_later_process_continues(server: Server, weights: bytes, tmp_path: pathlib.Path) -> None:
    url = server.on("/net.pth", serve(weights, stop=5000), hang_up)
    text = str(error(url))
    assert text.endswith("try again: what has arrived is kept, and continued where the server can do that")
    assert cached(tmp_path) == ["net.pth.partial", "net.pth.partial.json"]
    server.on("/net.pth", serve(weights))
    assert_whole(open_checkpoint(url), weights)
    assert server.ranges()[-1] == "bytes=5000-"
    assert cached(tmp_path) == ["net.pth", "net.pth.json"]


def test_what_has_arrived_outlives_a_network_that_is_gone(
    server: Server, weights: bytes, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    url = server.on("/net.pth", serve(weights, stop=5000), hang_up)
    error(url)
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", unknown)
        assert "its server cannot be found" in str(error(url))
    for act in (page(), status(403), status(404), redirect("file:///x")):
        server.on("/net.pth", act)
        error(url)
        assert cached(tmp_path) == ["net.pth.partial", "net.pth.partial.json"]
    server.on("/net.pth", serve(weights))
    assert_whole(open_checkpoint(url), weights)
    assert server.ranges()[-1] == "bytes=5000-"


def test_a_disk_that_is_full(server: Server, weights: bytes, tmp_path: pathlib.Path) -> None:
    resource = pytest.importorskip("resource")
    url = server.on("/net.pth", serve(weights))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        text = str(error(url))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be kept in " in text and "(File too large)" in text
    assert text.endswith("set TORCH_HOME to a folder that can be written to and has room")
    assert cached(tmp_path) == ["net.pth.partial", "net.pth.partial.json"]
    assert_whole(open_checkpoint(url), weights)
    assert server.ranges() == [None, "bytes=500000-"]


def test_all_had_arrived_when_the_process_ended(server: Server, weights: bytes, tmp_path: pathlib.Path) -> None:
    url = server.on("/net.pth", serve(weights, stop=5000), hang_up)
    error(url)
    (partial,) = tmp_path.rglob("*.partial")
    partial.write_bytes(weights)
    server.requests.clear()
    assert_whole(open_checkpoint(url), weights)
    assert server.requests == []


def test_a_busy_server_is_asked_again(server: Server, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    monkeypatch.setattr(transfer, "PAUSE", 0.5)
    url = server.on(
        "/net.pth",
        status(503, **{"Retry-After": "7"}),
        status(500),
        status(429, **{"Retry-After": "9999"}),
        serve(weights),
    )
    assert_whole(open_checkpoint(url), weights)
    assert pauses == [7.0, 1.0, 60.0]


def test_a_server_that_stays_busy(server: Server) -> None:
    text = str(error(server.on("/net.pth", status(503))))
    assert "could not be fetched: its server answers 503 Service Unavailable: try again" in text
    assert len(server.requests) == transfer.ATTEMPTS


def test_progress_earns_more_attempts(server: Server, monkeypatch: pytest.MonkeyPatch, weights: bytes) -> None:
    monkeypatch.setattr(transfer, "PROGRESS", 100_000)
    url = server.on("/net.pth", serve(weights, stop=100_000))
    assert_whole(open_checkpoint(url), weights)
    assert len(server.requests) == -(-len(weights) // 100_000) > transfer.ATTEMPTS


def test_a_server_that_goes_back_and_forth_is_given_up(
    server: Server, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PROGRESS", 1000)
    less, more = serve(weights, etag=None, stop=1000), serve(weights, etag=None, stop=9000)
    url = server.on("/net.pth", *[less, more] * 50)
    assert "the connection ended after" in str(error(url))
    assert len(server.requests) < 10


@pytest.mark.parametrize(
    "value", ["\xb2", "-1", "soon", "9" * 5000, ""], ids=["two", "negative", "word", "huge", "empty"]
)
def test_numbers_that_are_none(server: Server, weights: bytes, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: None)
    assert_whole(open_checkpoint(server.on("/net.pth", status(503, **{"Retry-After": value}), serve(weights))), weights)

    def strange(handler: Handler) -> None:
        answer(handler, 200, {"Content-Length": value}, weights)

    assert_whole(open_checkpoint(server.on("/other.pth", strange)), weights)


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
def test_a_validator_that_cannot_be_sent_back(server: Server, weights: bytes, name: str) -> None:
    text = '"one\r\n two"' if name == "ETag" else "Wed, 21 Oct 2015\r\n 07:28:00 GMT"
    url = server.on("/net.pth", serve(weights, etag=None, stop=5000, headers={name: text}), serve(weights))
    assert_whole(open_checkpoint(url), weights)
    assert server.ranges() == [None, None]


def test_a_server_that_stalls(server: Server, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT", 0.3)
    url = server.on("/net.pth", stalled(server, serve(weights, stop=5000)), serve(weights))
    assert_whole(open_checkpoint(url), weights)
    assert server.ranges() == [None, "bytes=5000-"]
    assert "its server has stopped answering" in str(error(server.on("/mute.pth", stalled(server, hang_up))))


def test_chunks_that_end_too_early(server: Server, weights: bytes) -> None:
    url = server.on("/net.pth", chunked(weights[:5000], end=False), chunked(weights))
    assert_whole(open_checkpoint(url), weights)


def test_nobody_listens(server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = str(error(f"http://127.0.0.1:{port}/net.pth"))
    assert "could not be fetched: the connection failed" in text
    assert "refused" in text
