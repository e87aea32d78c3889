"""Downloads that are refused: pages, lies, redirects, and bodies without an end."""

from __future__ import annotations

import http.client
import pathlib
import shutil
import socket
import ssl
import urllib.error

import pytest

from autoinit.checkpoints import open_checkpoint
from autoinit.checkpoints.downloads import transfer
from autoinit.checkpoints.downloads.verdicts import InterruptedTransferError, RefusedError, connection_error

from .checkpoint_files import assert_whole, cached, error
from .http_server import (
    CERTIFICATE,
    Act,
    Handler,
    Server,
    answer,
    chunked,
    page,
    redirect,
    running_server,
    serve,
    status,
)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAUSE", 0.0)


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


def test_https(server: Server, weights: bytes, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server(tls=True) as safe:
        url = safe.on("/net.pth", redirect("/real.pth"))
        safe.on("/real.pth", serve(weights))
        text = refused(server, url, tmp_path)
        assert "its server's certificate is not valid (self" in text
        assert text.endswith("name its certificate in SSL_CERT_FILE")
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        assert_whole(open_checkpoint(url), weights)


def test_a_redirect_from_https_to_http(
    server: Server, weights: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    plain = server.on("/net.pth", serve(weights))
    with running_server(tls=True) as safe:
        text = refused(server, safe.on("/net.pth", redirect(f"{plain}?token=secret")), tmp_path)
        assert "is redirected from https to unprotected http, to 127.0.0.1, which was refused" in text
        assert "secret" not in text
        assert server.requests == []
        # The other way is the usual one.
        safe.on("/net.pth", serve(weights))
        assert_whole(open_checkpoint(server.on("/up.pth", redirect(f"{safe.root}/net.pth"))), weights)


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
