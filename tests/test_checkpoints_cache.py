"""The cache of downloads: what is found again, what is shared with torch.hub, and two processes at once."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest
import torch

from autoinit.checkpoints import open_checkpoint
from autoinit.checkpoints.downloads import cache, digest_of, digests, named_digest
from autoinit.checkpoints.downloads.transfer import Transfer

from .checkpoint_files import error
from .http_server import Server, serve, status


@pytest.fixture
def hub(tmp_path: pathlib.Path) -> pathlib.Path:
    """Where torch.hub and mmengine put what they download."""
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
    return f"net-{hashlib.sha256(data).hexdigest()[:8]}.pth"


def test_two_addresses_of_one_name(server: Server) -> None:
    first, second = server.on("/a/net.pth", serve(saved(1.0))), server.on("/b/net.pth", serve(saved(2.0)))
    for _ in range(2):
        assert (value_of(first), value_of(second)) == (1.0, 2.0)
    assert len(server.requests) == 2


def test_the_folder_is_where_torch_says(
    server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.on("/net.pth", serve(saved(1.0)))
    path = open_checkpoint(url).parts[0].source.path
    assert path.startswith(str(tmp_path / "torch" / "hub" / "checkpoints" / "autoinit") + os.sep)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "elsewhere"))
    path = open_checkpoint(url).parts[0].source.path
    assert path.startswith(str(tmp_path / "elsewhere" / "checkpoints" / "autoinit") + os.sep)


def test_what_torch_hub_has_downloaded_is_used(server: Server, hub: pathlib.Path) -> None:
    data = saved(1.0)
    (hub / named(data)).write_bytes(data)
    url = server.on(f"/{named(data)}", status(404))
    for _ in range(2):
        assert value_of(url) == 1.0
    assert server.requests == []


def test_what_torch_hub_has_is_hashed_once(server: Server, hub: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(1.0)
    path = hub / named(data)
    path.write_bytes(data)
    url = server.root + f"/{named(data)}"
    hashed: list[str] = []
    monkeypatch.setattr(cache, "digest_of", lambda path: hashed.append(path) or digest_of(path))
    assert [value_of(url) for _ in range(3)] == [1.0] * 3
    assert hashed == [str(path)]


def test_what_torch_hub_has_is_not_trusted_by_its_name(server: Server, hub: pathlib.Path) -> None:
    data = saved(1.0)
    # Another file of that name, one that was cut off, and one whose name says nothing.
    for name, wrong in ((named(data), saved(2.0)), (f"b{named(data)}", data[:-20]), ("net.pth", saved(2.0))):
        (hub / name).write_bytes(wrong)
        assert value_of(server.on(f"/{name}", serve(data))) == 1.0
        assert (hub / name).read_bytes() == wrong
    assert len(server.requests) == 3


def test_a_digest_that_is_given_finds_it_too(server: Server, hub: pathlib.Path) -> None:
    data = saved(1.0)
    (hub / "net-deadbeef.pth").write_bytes(data)
    assert value_of(server.root + "/net-deadbeef.pth", sha256=hashlib.sha256(data).hexdigest()) == 1.0
    assert server.requests == []


def test_a_hub_that_cannot_be_written_to(server: Server, hub: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(1.0)
    (hub / named(data)).write_bytes(data)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "mkdir", refuse)
    assert value_of(server.root + f"/{named(data)}") == 1.0
    text = str(error(server.on("/net.pth", serve(data))))
    assert "cannot be kept in" in text and "(Permission denied)" in text
    assert text.endswith("set TORCH_HOME to a folder that can be written to and has room")


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(server: Server) -> None:
    data = saved(1.0, size=1000)
    url = server.on("/net.pth", serve(data))
    path = pathlib.Path(open_checkpoint(url).parts[0].source.path)
    for damage in (data[:-100], data + b"x", bytes(len(data)), b""):
        path.write_bytes(damage)
        assert value_of(url) == 1.0
        assert path.read_bytes() == data
    path.unlink()
    assert value_of(url) == 1.0
    assert len(server.requests) == 6
    os.utime(path, (0, 0))
    assert value_of(url) == 1.0, "touched, but the same"
    assert len(server.requests) == 6


def test_what_arrives_is_always_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, right = saved(1.0), saved(2.0)
    url = server.on("/net.pth", serve(wrong), serve(right))
    keep = Transfer.run

    def at_one_time(transfer: Transfer) -> None:
        keep(transfer)
        os.utime(transfer.path, (0, 0))

    monkeypatch.setattr(Transfer, "run", at_one_time)
    sha256 = hashlib.sha256(right).hexdigest()
    assert "is not what it should be" in str(error(url, sha256=sha256))
    assert value_of(url, sha256=sha256) == 2.0


def test_a_cache_may_be_moved(
    server: Server, hub: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(2.0)
    (hub / named(data)).write_bytes(data)
    urls = [server.on("/net.pth", serve(saved(1.0))), server.root + f"/{named(data)}"]
    assert [value_of(url) for url in urls] == [1.0, 2.0]
    (tmp_path / "torch").rename(tmp_path / "moved")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "moved"))
    server.acts.clear()
    assert [value_of(url) for url in urls] == [1.0, 2.0]
    assert len(server.requests) == 1
    assert not (tmp_path / "torch").exists()


def test_what_another_library_has_and_may_not_be_read(
    server: Server, hub: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(1.0)
    (hub / named(data)).write_bytes(data)

    def refuse(path: str) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache, "digest_of", refuse)
    assert value_of(server.on(f"/{named(data)}", serve(data))) == 1.0
    assert len(server.requests) == 1


def test_a_digest_that_cannot_be_computed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(saved(1.0))

    def fail(path: str) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(digests, "digest_of", fail)
    assert "cannot be read (Input/output error)" in str(error(path, sha256="0" * 64))


def test_a_file_system_without_locks(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    text = str(error(server.on("/net.pth", serve(saved(1.0)))))
    assert "cannot be kept in" in text and "(FileSystem does not appear to support flock): set TORCH_HOME" in text


@pytest.mark.parametrize("note", ["", "{", "[]", '{"sha256": 3}', '{"url": "x"}'])
def test_a_note_that_cannot_be_read(server: Server, note: str) -> None:
    url = server.on("/net.pth", serve(saved(1.0)))
    path = open_checkpoint(url).parts[0].source.path
    pathlib.Path(path + ".json").write_text(note)
    assert value_of(url) == 1.0
    assert len(server.requests) == 2
    assert json.loads(pathlib.Path(path + ".json").read_text())["url"] == url


def test_what_is_wrong_with_a_cached_file_says_how_to_get_it_anew(server: Server) -> None:
    url = server.on("/net.pth", serve(saved(1.0)))
    checkpoint = open_checkpoint(url)
    path = checkpoint.parts[0].source.path
    source = checkpoint.parts[0].source
    assert str(source.error("is truncated or damaged")).endswith(f"remove {path!r}, and it is downloaded again")


def test_digests(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 1_000_000)
    assert digest_of(str(path)) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
    assert named_digest("a-0123abcd.b-12345678.tar") == "0123abcd"
    assert named_digest("a-0123456789abcdef-12345678.tar") is None
    assert named_digest("a-0123abc.pth") is None
    assert named_digest("a_0123abcd.pth") is None


FETCH = """
import sys
from autoinit.checkpoints import open_checkpoint
print("ready", flush=True)
sys.stdin.readline()
((_, tensor),) = open_checkpoint(sys.argv[1]).tensors(["w"])
print(tensor.sum().item())
"""


def test_two_processes_fetch_one_file_once(server: Server, tmp_path: pathlib.Path) -> None:
    data = saved(1.0, size=1_000_000)

    def slowly(handler: object) -> None:
        server.gate.wait(5)
        serve(data)(handler)  # type: ignore[arg-type]

    url = server.on("/net.pth", slowly)
    command = [sys.executable, "-c", FETCH, url]
    processes = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=pathlib.Path(__file__).parents[1]
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    threading.Timer(1.5, server.gate.set).start()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert outputs == ["1000000.0\n"] * 3
    assert len(server.requests) == 1


def test_threads_fetch_one_file_once(server: Server) -> None:
    url = server.on("/net.pth", serve(saved(1.0, size=100_000)))
    found: list[float] = []
    threads = [threading.Thread(target=lambda: found.append(value_of(url))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1.0] * 8
    assert len(server.requests) == 1


def test_a_process_that_is_killed_holds_up_nobody(server: Server, tmp_path: pathlib.Path) -> None:
    data = saved(1.0, size=100_000)
    arrived = threading.Event()

    def half(handler: object) -> None:
        serve(data, stop=1000)(handler)  # type: ignore[arg-type]
        handler.wfile.flush()  # type: ignore[attr-defined]
        arrived.set()
        server.gate.wait(60)

    url = server.on("/net.pth", half, serve(data))
    process = subprocess.Popen(
        [sys.executable, "-c", FETCH, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=pathlib.Path(__file__).parents[1],
    )
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    assert arrived.wait(120)
    deadline = threading.Event()
    while not list(tmp_path.rglob("*.partial")):
        deadline.wait(0.05)
    process.kill()
    process.communicate()
    assert value_of(url) == 1.0
    assert len(server.requests) == 2
