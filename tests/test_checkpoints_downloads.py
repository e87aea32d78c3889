"""Downloads from a server on this machine that truncates, stalls, redirects and lies: what arrives, what is refused."""

from __future__ import annotations

import hashlib
import http.client
import io
import pathlib
import re
import shutil
import socket
import ssl
import sys
import urllib.error
from collections.abc import Iterator

import pytest
import torch

from autoinit.checkpoints import Checkpoint, open_checkpoint
from autoinit.checkpoints.downloads import transfer
from autoinit.checkpoints.downloads.verdicts import InterruptedTransferError, RefusedError, connection_error

from .checkpoint_files import assert_same, error, state, values
from .http_server import (
    Act,
    Handler,
    Server,
    answer,
    chunked,
    hang_up,
    page,
    redirect,
    running_server,
    serve,
    stalled,
    status,
)


@pytest.fixture
def server(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    with running_server() as running:
        yield running


@pytest.fixture(scope="module")
def weights() -> bytes:
    torch.manual_seed(0)
    buffer = io.BytesIO()
    torch.save({"w": torch.randn(300_000), "b": torch.ones(3)}, buffer)
    return buffer.getvalue()


def cached(tmp_path: pathlib.Path) -> list[str]:
    """The files of the cache, without the locks."""
    files = (path for path in (tmp_path / "torch").rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(path.name for path in files)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def assert_whole(checkpoint: Checkpoint, weights: bytes) -> None:
    assert_same(values(checkpoint), torch.load(io.BytesIO(weights), weights_only=True))


# What arrives


def test_fetched_once_and_then_never_asked_for(server: Server, weights: bytes, tmp_path: pathlib.Path) -> None:
    url = server.on("/models/net.pth", serve(weights))
    assert_whole(open_checkpoint(url), weights)
    assert_whole(open_checkpoint(url), weights)
    assert [path for path, _ in server.requests] == ["/models/net.pth"]
    assert cached(tmp_path) == ["net.pth", "net.pth.json"]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: Server, weights: bytes, code: int) -> None:
    server.on("/real.pth", serve(weights))
    url = server.on("/net.pth", redirect("/real.pth", code))
    assert_whole(open_checkpoint(url), weights)


def test_a_body_in_chunks_without_a_length(server: Server, weights: bytes) -> None:
    assert_whole(open_checkpoint(server.on("/net.pth", chunked(weights))), weights)


def test_a_body_that_ends_with_the_connection(server: Server, weights: bytes) -> None:
    url = server.on("/net.pth", lambda handler: answer(handler, 200, {}, weights))
    assert_whole(open_checkpoint(url), weights)


def test_names_that_no_file_may_have(server: Server, weights: bytes, tmp_path: pathlib.Path) -> None:
    name = "%2e%2e%2F..%2f" + "n" * 300 + "%00 \N{SNOWMAN}.pth"
    url = server.root + "/models/" + name
    server.acts = {
        path: [serve(weights)] for path in ("/models/" + name.replace(" ", "%20").replace("\N{SNOWMAN}", "%E2%98%83"),)
    }
    assert_whole(open_checkpoint(url), weights)
    (kept,) = (name for name in cached(tmp_path) if name.endswith(".pth"))
    assert re.fullmatch(r"n+__+\.pth", kept)
    assert not list(tmp_path.glob("*.pth"))


def test_a_query_is_part_of_the_address(server: Server, weights: bytes) -> None:
    url = server.on("/download", serve(weights))
    assert_whole(open_checkpoint(f"{url}?file=net.pth&v=1"), weights)
    assert server.requests[0][0] == "/download?file=net.pth&v=1"
    open_checkpoint(f"{url}?file=net.pth&v=2")
    assert len(server.requests) == 2


# Interrupted, and continued


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


# Refused


def refused(server: Server, url: str, tmp_path: pathlib.Path, **options: str) -> str:
    """The error of fetching a URL: nothing of it is kept, and it was not tried twice."""
    text = str(error(url, **options))
    assert cached(tmp_path) == []
    return text


@pytest.mark.parametrize("code", [404, 410])
def test_not_there(server: Server, tmp_path: pathlib.Path, code: int) -> None:
    url = server.on("/net.pth", status(code))
    text = refused(server, url, tmp_path)
    assert f"does not exist on its server ({code} " in text
    assert text.endswith("check the address")
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [401, 403, 407])
def test_not_for_everybody(server: Server, tmp_path: pathlib.Path, code: int) -> None:
    text = refused(server, server.on("/net.pth", status(code)), tmp_path)
    assert f"is not for everybody ({code} " in text
    assert "give its path" in text


@pytest.mark.parametrize("code", [400, 418, 451, 599, 204])
def test_other_answers(server: Server, tmp_path: pathlib.Path, code: int) -> None:
    assert f"its server answers {code}" in refused(server, server.on("/net.pth", status(code)), tmp_path)


@pytest.mark.parametrize(
    "act",
    [
        page(),
        page("Please sign in first."),
        page("Please sign in first.", kind="application/xhtml+xml"),
        page(kind="application/octet-stream"),
        page("\n\t <!-- <html> -->", kind="text/plain"),
        page("\ufeff<?xml version='1.0'?><Error/>", kind="application/xml"),
    ],
)
def test_pages_are_no_weights(server: Server, tmp_path: pathlib.Path, act: Act) -> None:
    text = refused(server, server.on("/net.pth", act), tmp_path)
    assert "page" in text and "not with weights" in text
    assert "/resolve/ in place of /blob/" in text


def test_what_is_no_checkpoint_is_not_kept(server: Server, tmp_path: pathlib.Path) -> None:
    for content, says in (
        (b"cat\ndog\n" * 99, "neither a file of torch.save"),
        (b'{"a": 1}', "holds JSON"),
        (b"", "is empty"),
    ):
        assert says in refused(server, server.on("/net.pth", serve(content)), tmp_path)


def test_a_checkpoint_that_is_cut_off_is_not_kept(server: Server, weights: bytes, tmp_path: pathlib.Path) -> None:
    # The server believes that this is all there is, and no digest tells otherwise.
    assert "truncated" in refused(server, server.on("/net.pth", serve(weights[:-9])), tmp_path)
    assert_whole(open_checkpoint(server.on("/net.pth", serve(weights))), weights)


def test_compressed_although_nobody_asked(server: Server, weights: bytes, tmp_path: pathlib.Path) -> None:
    url = server.on("/net.pth", serve(weights, headers={"Content-Encoding": "gzip"}))
    assert "is sent compressed (gzip)" in refused(server, url, tmp_path)
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_more_than_announced(server: Server, weights: bytes, tmp_path: pathlib.Path) -> None:
    url = server.on("/net.pth", serve(weights[:2000], announced=1000))
    assert "is longer than the 1,000 bytes that its server announced" in refused(server, url, tmp_path)


def test_a_body_without_an_end(server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "UNANNOUNCED", 1 << 20)
    url = server.on("/net.pth", chunked(bytes(1 << 16), times=1000))
    assert "has no end: its server announced no length, and goes on after 1,048,576 bytes" in refused(
        server, url, tmp_path
    )


@pytest.mark.parametrize("announced", [True, False])
def test_more_than_the_disk_has_free(
    server: Server, weights: bytes, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    free = transfer.RESERVE + 1000
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1 << 40, 0, free))  # type: ignore[attr-defined]
    text = refused(server, server.on("/net.pth", serve(weights) if announced else chunked(weights)), tmp_path)
    assert "set TORCH_HOME to a folder on another disk" in text
    if announced:
        assert f"is too large for the disk: {len(weights):,} bytes are to come, 1,000 are free in" in text


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("file:///etc/passwd", "is redirected to a file address, which was refused"),
        ("ftp://127.0.0.1/net.pth", "is redirected to a ftp address, which was refused"),
        ("data:text/plain,abc", "is redirected to a data address, which was refused"),
        ("http://[::1", "is redirected to something that is no address"),
        ("/net.pth", "is redirected in a circle"),
    ],
)
def test_redirects_that_are_not_followed(server: Server, tmp_path: pathlib.Path, to: str, says: str) -> None:
    assert says in refused(server, server.on("/net.pth", redirect(to)), tmp_path)


def test_a_redirect_to_nowhere(server: Server, tmp_path: pathlib.Path) -> None:
    assert "is redirected (302), but not to anywhere" in refused(server, server.on("/net.pth", status(302)), tmp_path)


def test_a_chain_of_redirects_has_to_end(server: Server, tmp_path: pathlib.Path) -> None:
    for number in range(30):
        server.on(f"/{number}.pth", redirect(f"/{number + 1}.pth"))
    assert "or more than 10 times" in refused(server, server.root + "/0.pth", tmp_path)


def test_a_redirect_from_https_to_http(monkeypatch: pytest.MonkeyPatch) -> None:
    from email.message import Message
    from urllib.request import Request

    from autoinit.checkpoints.downloads.redirects import Redirects

    headers = Message()
    headers["Location"] = "http://example.org/net.pth?token=secret"
    with pytest.raises(
        RefusedError, match="from https to unprotected http, to example.org, which was refused"
    ) as caught:
        Redirects().http_error_302(Request("https://example.org/a"), io.BytesIO(), 302, "Found", headers)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_a_redirect_whose_body_has_no_end(server: Server, weights: bytes) -> None:
    def endless(handler: Handler) -> None:
        answer(handler, 302, {"Location": "/real.pth", "Transfer-Encoding": "chunked"})
        while True:
            handler.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")

    server.on("/real.pth", serve(weights))
    assert_whole(open_checkpoint(server.on("/net.pth", endless)), weights)


@pytest.mark.parametrize(
    "url", ["http://", "https:///net.pth", "http://exa mple.org:port/x", "http://[::1/x", "http://a.org/\udc80"]
)
def test_what_is_no_address(server: Server, url: str) -> None:
    assert "is no address that can be fetched" in str(error(url))


def test_a_connection_that_fails_before_the_answer_is_no_fault_of_the_disk(
    server: Server, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, failed = http.client.HTTPConnection.getresponse, []

    def fail_once(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        if failed:
            return get(connection)
        failed.append(connection)
        raise ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC] decryption failed")

    monkeypatch.setattr(http.client.HTTPConnection, "getresponse", fail_once)
    assert_whole(open_checkpoint(server.on("/net.pth", serve(weights))), weights)
    assert failed


def test_verdicts_on_connections() -> None:
    broken = ssl.SSLError(1, "bad record mac")
    broken.reason = "BAD_RECORD_MAC"
    assert isinstance(connection_error(broken), InterruptedTransferError)
    assert isinstance(connection_error(urllib.error.URLError(broken)), InterruptedTransferError)
    unknown = urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))
    assert "its server cannot be found" in str(connection_error(unknown))
    invalid = ssl.SSLCertVerificationError()
    invalid.verify_message = "self-signed certificate"
    verdict = connection_error(urllib.error.URLError(invalid))
    assert isinstance(verdict, RefusedError)
    assert "certificate is not valid (self-signed certificate)" in str(verdict)


# Digests


def test_a_digest_in_the_name(server: Server, weights: bytes, tmp_path: pathlib.Path) -> None:
    good = server.on(f"/net-{digest(weights)[:8]}.pth", serve(weights))
    assert_whole(open_checkpoint(good), weights)
    shutil.rmtree(tmp_path / "torch")
    text = refused(server, server.on("/net-deadbeef.pth", serve(weights)), tmp_path)
    assert (
        f"is not what it should be: its name says 'deadbeef', and the SHA-256 of what arrived is {digest(weights)}"
        in text
    )
    assert text.endswith(f"say so with sha256={digest(weights)!r}")


def test_a_date_in_the_name_is_no_digest(server: Server, weights: bytes) -> None:
    assert_whole(open_checkpoint(server.on("/net-20211231.pth", serve(weights))), weights)


@pytest.mark.parametrize("length", [8, 20, 64])
def test_a_digest_that_is_asked_for(server: Server, weights: bytes, length: int, tmp_path: pathlib.Path) -> None:
    url = server.on("/net-deadbeef.pth", serve(weights))
    assert_whole(open_checkpoint(url, sha256=digest(weights)[:length].upper()), weights)
    other = digest(b"other")[:length]
    url = server.on("/other.pth", serve(weights))
    text = str(error(url, sha256=other))
    assert f"is not what it should be: sha256={other!r} was asked for" in text
    assert "other.pth" not in cached(tmp_path)


def test_a_corrupted_download_leaves_what_was_there(server: Server, weights: bytes, tmp_path: pathlib.Path) -> None:
    url = server.on("/net.pth", serve(weights))
    path = pathlib.Path(open_checkpoint(url).parts[0].source.path)
    for act in (serve(weights[:-9]), serve(bytes(500)), page(), status(404), redirect("file:///x")):
        server.on("/net.pth", act)
        error(url, sha256=digest(b"newer"))
        assert path.read_bytes() == weights
    assert_whole(open_checkpoint(url), weights)
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(3)}, buffer)
    newer = buffer.getvalue()
    server.on("/net.pth", serve(newer))
    assert_whole(open_checkpoint(url, sha256=digest(newer)), newer)


def test_a_digest_of_a_local_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "toy-deadbeef.pth"
    torch.save(state(), path)
    found = digest(path.read_bytes())
    assert_same(values(open_checkpoint(path, sha256=found[:10])), state())
    text = str(error(path, sha256="0" * 64))
    assert f"sha256='{'0' * 64}' was asked for, and its SHA-256 is {found}: give the digest of this file" in text


# Progress


def test_the_bar_is_for_terminals(server: Server, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def shown(stderr: io.StringIO, name: str) -> str:
        monkeypatch.setattr(sys, "stderr", stderr)
        open_checkpoint(server.on(name, serve(weights)))
        return stderr.getvalue()

    monkeypatch.delenv("AUTOINIT_PROGRESS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "a.pth" in shown(Terminal(), "/a.pth")
    assert shown(io.StringIO(), "/b.pth") == ""
    monkeypatch.setenv("AUTOINIT_PROGRESS", "0")
    assert shown(Terminal(), "/c.pth") == ""
