"""Downloads from a server on this machine: what is kept, what is found again, and what is refused."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from autoinit.checkpoints import downloads, open_checkpoint, source
from autoinit.checkpoints.downloads import named_digest
from autoinit.checkpoints.source import sha256_of
from tests.checkpoint_files import assert_same, assert_whole, cached, digest, error, path_of, state, values

from .http_server import (
    CERTIFICATE,
    Handler,
    Server,
    answer,
    chunked,
    hang_up,
    page,
    redirect,
    running_server,
    serve,
    status,
)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """The folder in which torch.hub and mmengine keep their downloads."""
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def saved(value: float, size: int = 3) -> bytes:
    buffer = io.BytesIO()
    torch.save({"w": torch.full((size,), value)}, buffer)
    return buffer.getvalue()


def value_of(location: str, **options: str) -> float:
    ((_, tensor),) = open_checkpoint(location, **options).tensors(["w"])
    return tensor[0].item()


def named(data: bytes) -> str:
    return f"net-{digest(data)[:8]}.pth"


def raising(exception: Exception) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise exception

    return fail


def refused(url: str, tmp_path: Path, **options: str) -> str:
    """The error of fetching a URL: nothing of it is kept."""
    text = str(error(url, **options))
    assert cached(tmp_path) == []
    return text


CODES = (301, 302, 303, 307, *([308] if sys.version_info >= (3, 11) else []))  # urllib of Python 3.10 has no 308.
REDIRECTS = [lambda _, code=code: redirect("/real.pth", code) for code in CODES]


@pytest.mark.parametrize("act", [chunked, lambda data: answer(200, data), *REDIRECTS])
def test_answers_without_a_length_and_redirects(server: Server, weights: bytes, act: Any) -> None:
    server.on("/real.pth", serve(weights))
    assert_whole(open_checkpoint(server.on("/net.pth", act(weights))), weights)


def test_names_that_no_file_may_have(server: Server, weights: bytes, tmp_path: Path) -> None:
    name = "%2e%2e%2F..%2f" + "n" * 300 + "%00 \N{SNOWMAN}.pth"
    server.on("/models/" + name.replace(" ", "%20").replace("\N{SNOWMAN}", "%E2%98%83"), serve(weights))
    assert_whole(open_checkpoint(server.root + "/models/" + name), weights)
    (kept,) = cached(tmp_path)
    assert re.fullmatch(r"n+__+\.pth", kept)
    assert not list(tmp_path.glob("*.pth"))


def test_digests(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 1_000_000)
    assert sha256_of(str(path)) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
    assert named_digest("a-0123abcd.b-12345678.tar") == "0123abcd"
    for name in ("a-0123456789abcdef-12345678.tar", "a-0123abc.pth", "a_0123abcd.pth"):
        assert named_digest(name) is None


def test_a_digest_in_the_name(server: Server, weights: bytes, tmp_path: Path) -> None:
    for name in (named(weights), "net-20211231.pth"):  # A date is no digest.
        assert_whole(open_checkpoint(server.on(f"/{name}", serve(weights))), weights)
    shutil.rmtree(tmp_path / "torch")
    text = refused(server.on("/net-deadbeef.pth", serve(weights)), tmp_path)
    says = f"its name says 'deadbeef', and the SHA-256 of what arrived is {digest(weights)}"
    assert f"is not what it should be: {says}" in text
    assert text.endswith(f"say so with sha256={digest(weights)!r}")


@pytest.mark.parametrize("length", [8, 20, 64])
def test_a_digest_that_is_asked_for(server: Server, weights: bytes, length: int, tmp_path: Path) -> None:
    other = digest(b"other")[:length]
    text = refused(server.on("/other.pth", serve(weights)), tmp_path, sha256=other)
    assert f"is not what it should be: sha256={other!r} was asked for" in text
    url = server.on("/net-deadbeef.pth", serve(weights))
    assert_whole(open_checkpoint(url, sha256=digest(weights)[:length].upper()), weights)


def test_what_arrives_is_always_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file of the same size and time is not taken for the one that was hashed before."""
    wrong, right = saved(1.0), saved(2.0)
    url = server.on("/net.pth", serve(wrong), serve(right))
    fetch = downloads._transfer

    def at_one_time(url: str, path: Path) -> None:
        fetch(url, path)
        os.utime(path, (0, 0))

    monkeypatch.setattr(downloads, "_transfer", at_one_time)
    assert "is not what it should be" in str(error(url, sha256=digest(right)))
    assert value_of(url, sha256=digest(right)) == 2.0


def test_a_digest_of_a_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "toy-deadbeef.pth"
    torch.save(state(), path)
    found = digest(path.read_bytes())
    assert_same(values(open_checkpoint(path, sha256=found[:10])), state())
    text = str(error(path, sha256="0" * 64))
    assert f"sha256='{'0' * 64}' was asked for, and its SHA-256 is {found}: give the digest of this file" in text
    os.utime(path, (0, 0))
    monkeypatch.setattr(source, "sha256_of", raising(OSError(5, "Input/output error")))
    assert "cannot be read (Input/output error)" in str(error(path, sha256="0" * 64))


@pytest.mark.parametrize(("terminal", "switch", "shown"), [(True, "", True), (False, "", False), (True, "0", False)])
def test_the_bar_is_for_terminals(
    server: Server, weights: bytes, monkeypatch: pytest.MonkeyPatch, terminal: bool, switch: str, shown: bool
) -> None:
    stderr = io.StringIO()
    stderr.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("AUTOINIT_PROGRESS", switch)
    open_checkpoint(server.on("/a.pth", serve(weights)))
    assert "1.2/1.2 MB" in stderr.getvalue() if shown else stderr.getvalue() == ""


def test_each_address_is_fetched_once(server: Server, tmp_path: Path) -> None:
    paths = ("/a/net.pth", "/b/net.pth", "/download?file=net.pth&v=1", "/download?file=net.pth&v=2")
    for path in paths[:3]:
        server.on(path.partition("?")[0], serve(saved(1.0)), serve(saved(2.0)))
    urls = [server.root + path for path in paths]
    for _ in range(2):  # The second time nothing is asked for.
        assert [value_of(url) for url in urls] == [1.0, 1.0, 1.0, 2.0]
    assert server.requests == [*paths] and cached(tmp_path) == ["download"] * 2 + ["net.pth"] * 2


def test_what_torch_hub_has_is_used(server: Server, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(1.0)
    (hub / named(data)).write_bytes(data)
    (hub / "net-deadbeef.pth").write_bytes(data)
    hashed: list[str] = []
    monkeypatch.setattr(source, "sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    assert [value_of(f"{server.root}/{named(data)}") for _ in range(3)] == [1.0] * 3
    assert hashed == [str(hub / named(data))], "once by each process"
    assert value_of(server.root + "/net-deadbeef.pth", sha256=digest(data)) == 1.0
    assert server.requests == []


def test_what_torch_hub_has_is_not_trusted_by_name(server: Server, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(1.0)
    # Another file of that name, one that was cut off, and one whose name says nothing.
    for name, wrong in ((named(data), saved(2.0)), (f"b{named(data)}", data[:-20]), ("net.pth", saved(2.0))):
        (hub / name).write_bytes(wrong)
        assert value_of(server.on(f"/{name}", serve(data))) == 1.0
        assert (hub / name).read_bytes() == wrong
    (hub / f"c{named(data)}").write_bytes(data)
    with monkeypatch.context() as patch:
        patch.setattr(downloads, "remembered_sha256", raising(PermissionError(13, "Permission denied")))
        assert value_of(server.on(f"/c{named(data)}", serve(data))) == 1.0
    assert len(server.requests) == 4


def test_a_hub_that_cannot_be_written_to(server: Server, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(1.0)
    (hub / named(data)).write_bytes(data)
    monkeypatch.setattr("filelock.FileLock.acquire", raising(NotImplementedError("no flock here")))
    assert "cannot be kept in" in str(error(server.on("/net.pth", serve(data)))), "a file system without locks"
    monkeypatch.setattr(Path, "mkdir", raising(PermissionError(13, "Permission denied")))
    assert value_of(server.root + f"/{named(data)}") == 1.0
    text = str(error(server.on("/net.pth", serve(data))))
    assert "cannot be kept in" in text and "(Permission denied)" in text
    assert text.endswith("set TORCH_HOME to a folder that can be written to and has room")


def test_a_disk_that_is_full(server: Server, weights: bytes, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits of file sizes are those of POSIX")
    url = server.on("/net.pth", serve(weights))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        text = refused(url, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be kept in " in text and "(File too large)" in text
    assert_whole(open_checkpoint(url), weights)


@pytest.mark.parametrize("has_digest", [True, False])
def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(server: Server, has_digest: bool) -> None:
    data = saved(1.0, size=1000)
    url = server.on(f"/{named(data) if has_digest else 'net.pth'}", serve(data))
    checkpoint = open_checkpoint(url)
    path = path_of(checkpoint)
    text = str(checkpoint.stored["w"].source.error("is truncated or damaged"))
    assert text.endswith(f"remove {str(path)!r}, and it is downloaded again")
    damages = [data[:-100], bytes(len(data)), b"", *([data.replace(b"\x80\x3f", b"\x80\x40")] if has_digest else [])]
    for damage in damages:
        path.write_bytes(damage)
        assert value_of(url) == 1.0
        assert path.read_bytes() == data
    path.unlink()
    assert value_of(url) == 1.0
    os.utime(path, (0, 0))
    assert value_of(url) == 1.0, "touched, but the same"
    assert len(server.requests) == len(damages) + 2


def test_the_cache_is_where_torch_says_and_may_be_moved(
    server: Server, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(2.0)
    (hub / named(data)).write_bytes(data)
    urls = [server.on("/net.pth", serve(saved(1.0))), server.root + f"/{named(data)}"]
    assert [value_of(url) for url in urls] == [1.0, 2.0]
    (tmp_path / "torch").rename(tmp_path / "moved")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "moved"))
    assert [value_of(url) for url in urls] == [1.0, 2.0]
    assert len(server.requests) == 1
    assert not (tmp_path / "torch").exists()
    for folder in ("moved/hub", "elsewhere"):
        assert path_of(open_checkpoint(urls[0])).is_relative_to(tmp_path / folder / "checkpoints" / "autoinit")
        monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "elsewhere"))


FETCH = """
import sys
from autoinit.checkpoints import open_checkpoint
print("ready", flush=True)
sys.stdin.readline()
((_, tensor),) = open_checkpoint(sys.argv[1]).tensors(["w"])
print(tensor.sum().item())
"""


def fetching(url: str) -> subprocess.Popen[str]:
    """A process that fetches a URL when a line is written to it."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", FETCH, url]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)


def start(process: subprocess.Popen[str]) -> None:
    process.stdin.write("go\n")  # type: ignore[union-attr]
    process.stdin.flush()  # type: ignore[union-attr]


def test_two_processes_fetch_one_file_once(server: Server) -> None:
    data = saved(1.0, size=1_000_000)

    def slowly(handler: Handler) -> None:
        server.gate.wait(5)
        serve(data)(handler)

    url = server.on("/net.pth", slowly)
    processes = [fetching(url) for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3  # type: ignore[union-attr]
    for process in processes:
        start(process)
    threading.Timer(1.5, server.gate.set).start()
    assert [process.communicate(timeout=120)[0] for process in processes] == ["1000000.0\n"] * 3
    assert len(server.requests) == 1


def test_threads_fetch_one_file_once(server: Server) -> None:
    url = server.on("/net.pth", serve(saved(1.0, size=100_000)))
    found: list[float] = []
    threads = [threading.Thread(target=lambda: found.append(value_of(url))) for _ in range(8)]
    for act in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            act(thread)
    assert found == [1.0] * 8 and len(server.requests) == 1


def test_a_process_that_is_killed_holds_up_nobody(server: Server, tmp_path: Path) -> None:
    data = saved(1.0, size=100_000)
    arrived = threading.Event()

    def half(handler: Handler) -> None:
        serve(data, stop=1000)(handler)
        handler.wfile.flush()
        arrived.set()
        server.gate.wait(60)

    url = server.on("/net.pth", half, serve(data))
    process = fetching(url)
    start(process)
    assert arrived.wait(120)
    while not list(tmp_path.rglob("*.partial")):
        threading.Event().wait(0.05)
    process.kill()
    process.communicate()
    assert value_of(url) == 1.0
    assert len(server.requests) == 2
    assert cached(tmp_path) == ["net.pth"], "what had arrived is removed"


def test_a_failed_download_leaves_what_was_there(server: Server, weights: bytes) -> None:
    url = server.on("/net.pth", serve(weights))
    path = path_of(open_checkpoint(url))
    for act in (serve(weights[:-9]), serve(bytes(500)), page(), status(404), redirect("file:///x"), hang_up):
        server.on("/net.pth", act)
        error(url, sha256=digest(b"newer"))
        assert path.read_bytes() == weights
    assert_whole(open_checkpoint(url), weights)
    newer = saved(1.0)
    server.on("/net.pth", serve(newer))
    assert_whole(open_checkpoint(url, sha256=digest(newer)), newer)


@pytest.mark.parametrize(
    ("acts", "says"),
    [
        *((lambda _, code=code: status(code), f"does not exist on its server ({code} ") for code in (404, 410)),
        *((lambda _, code=code: status(code), f"is not for everybody ({code} ") for code in (401, 403, 407)),
        *((lambda _, code=code: status(code), f"cannot be fetched, its server answers {code}") for code in (400, 418)),
        *((lambda _, code=code: status(code), f"fetched: its server answers {code}") for code in (429, 503, 599)),
        (lambda _: status(204), "is empty"),
        (lambda data: serve(b"cat\ndog\n" * 99), "neither a file of torch.save"),
        (lambda data: serve(b'{"a": 1}'), "holds JSON"),
        (lambda data: serve(b""), "is empty"),
        (lambda data: serve(data[:-9]), "truncated"),
        (lambda data: page(), "is answered with an HTML or XML page, not with weights: open the address in a browser"),
        (lambda data: page("\n\t <!-- <html> -->"), "/resolve/ in place of /blob/"),
        (lambda data: page("\ufeff<?xml version='1.0'?><Error/>"), "is answered with an HTML or XML page"),
        (lambda data: hang_up, "could not be fetched: the connection failed (Remote end closed connection"),
        (lambda data: chunked(data[:5000], end=False), "could not be fetched: the connection failed (IncompleteRead"),
        (lambda data: serve(data, stop=5000), "the connection failed (5,000 of"),
        (lambda data: serve(data, announced=5000), "is truncated"),
        (lambda data: serve(data, announced="soon"), "could not be fetched: invalid literal for int"),
        (lambda _: redirect("file:///etc/passwd"), "Redirection to url 'file:///etc/passwd' is not allowed"),
        (lambda _: redirect("ftp://127.0.0.1/net.pth"), "it redirects to ftp"),
        (lambda _: redirect("data:text/plain,abc"), "is not allowed"),
        (lambda _: redirect("/net.pth"), "infinite loop"),
    ],
)
def test_answers_that_are_no_checkpoint(server: Server, weights: bytes, tmp_path: Path, acts: Any, says: str) -> None:
    assert says in refused(server.on("/net.pth", acts(weights)), tmp_path)
    assert len(server.requests) == 1 or says == "infinite loop"
    assert_whole(open_checkpoint(server.on("/net.pth", serve(weights))), weights)


def test_https(server: Server, weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server(tls=True) as safe:
        url = safe.on("/net.pth", redirect("/real.pth"))
        safe.on("/real.pth", serve(weights))
        text = refused(url, tmp_path)
        assert "its server's certificate is not valid (self" in text
        assert text.endswith("name its certificate in SSL_CERT_FILE")
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        assert_whole(open_checkpoint(url), weights)
        unsafe = safe.on("/unsafe.pth", redirect(server.on("/real.pth", serve(weights))))
        assert "a redirect from https to http is not followed" in str(error(unsafe))


def test_a_server_that_is_silent(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "SECONDS", 0.2)
    url = server.on("/net.pth", lambda handler: server.gate.wait(10))
    assert "the connection failed (timed out)" in refused(url, tmp_path)


@pytest.mark.parametrize(
    "url", ["http://", "https:///net.pth", "http://exa mple.org:port/x", "http://[::1/x", "http://a.org/\udc80"]
)
def test_what_is_no_address(server: Server, url: str) -> None:
    assert "is no address that can be fetched" in str(error(url))


def test_no_server(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = refused(f"http://127.0.0.1:{port}/net.pth", tmp_path)
    assert "could not be fetched: the connection failed" in text and "refused" in text
    monkeypatch.setattr(socket, "getaddrinfo", raising(socket.gaierror(-3, "Temporary failure in name resolution")))
    assert "its server cannot be found" in refused("http://nowhere.org/net.pth", tmp_path)
