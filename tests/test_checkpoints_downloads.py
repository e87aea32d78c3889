"""Downloads from a server on this machine: what arrives, digests, and the progress bar."""

from __future__ import annotations

import io
import pathlib
import re
import shutil
import sys

import pytest
import torch

from autoinit.checkpoints import open_checkpoint

from .checkpoint_files import assert_same, assert_whole, cached, digest, error, state, values
from .http_server import (
    Server,
    answer,
    chunked,
    page,
    redirect,
    serve,
    status,
)


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


# Digests


def test_a_digest_in_the_name(server: Server, weights: bytes, tmp_path: pathlib.Path) -> None:
    good = server.on(f"/net-{digest(weights)[:8]}.pth", serve(weights))
    assert_whole(open_checkpoint(good), weights)
    shutil.rmtree(tmp_path / "torch")
    text = str(error(server.on("/net-deadbeef.pth", serve(weights))))
    assert cached(tmp_path) == []
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
