"""`hf://`: the hub's own library and cache, against a hub on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
import torch
from safetensors.torch import save

from autoinit.checkpoints.hugging_face import HubFile
from autoinit.checkpoints.location_schemes import follow
from autoinit.checkpoints.source import Location
from tests.checkpoint_files import error
from tests.processes import Interpreter

from .http_server import Act, Server, running_server, serve, status

# The library reads where the hub is when it is imported, so each of these is a process of its own. It opens what it is
# told to, and says what it found or what was wrong.
OPEN = """
import json, os, sys
from autoinit.checkpoints import open_checkpoint
from autoinit.errors import CheckpointError
results = []
for location, options in json.load(sys.stdin):
    try:
        checkpoint = open_checkpoint(location, origin="here", **options)
        found = {name: tensor.flatten()[0].item() for name, tensor in checkpoint.tensors(checkpoint.shapes)}
        paths = dict.fromkeys(stored.source.path for stored in checkpoint.stored.values())
        results.append({"found": found, "paths": [*paths]})
    except CheckpointError as e:
        results.append({"error": str(e), "cause": type(e.__cause__).__name__})
print(json.dumps(results))
"""
IMPATIENT = "import time; time.sleep = lambda seconds: None"
WITH_TORCHVISION = "from tests.zoo.operators import torchvision_operators; torchvision_operators()"


def torch_bytes(**values: float) -> bytes:
    buffer = io.BytesIO()
    torch.save({name: torch.tensor([value]) for name, value in values.items()}, buffer)
    return buffer.getvalue()


def tensors(**values: float) -> bytes:
    return save({name: torch.tensor([value]) for name, value in values.items()})


def index(**shards: str) -> bytes:
    return json.dumps({"weight_map": shards}).encode()


Repository = Mapping[str, Mapping[str, bytes]]
"""The files of a repository, by branch or tag."""

NOW = {"model.safetensors": tensors(w=2.0), "README.md": b"#", "sub/folder/net.pth": torch_bytes(w=3.0)}
BEFORE = {"model.safetensors": tensors(w=1.0), "only-old.bin": torch_bytes(w=1.5)}
SHARDED = {
    "model.safetensors.index.json": index(a="one.safetensors", b="two.safetensors"),
    "one.safetensors": tensors(a=5.0),
    "two.safetensors": tensors(b=6.0),
    "sub/model.safetensors.index.json": index(c="three.safetensors"),
    "sub/three.safetensors": tensors(c=7.0),
}
REPOSITORIES: Mapping[str, Repository] = {
    "org/plain": {"main": NOW, "feature/x": BEFORE, "v1.0": BEFORE},
    "org/bin": {"main": {"pytorch_model.bin": torch_bytes(w=4.0)}},
    "org/sharded": {"main": SHARDED},
    "org/shards-bin": {"main": {"pytorch_model.bin.index.json": index(a="one.bin"), "one.bin": torch_bytes(a=8.0)}},
    "org/none": {"main": {"config.json": b"{}", "weights/net.bin": torch_bytes(w=9.0)}},
    "org/gated": {"main": {}},
    "org/broken": {"main": {"model.safetensors": b"<html>"}},
    "timm/resnet50.a1_in1k": {"main": {"model.safetensors": tensors(w=11.0)}},
}


def commit(files: Mapping[str, bytes]) -> str:
    return hashlib.sha1(repr(files).encode()).hexdigest()


def response(path: str) -> Act:
    """What the hub answers when its library downloads a file or lists a repository."""
    found = re.match(r"(?:/api/models)?/([^/]+/[^/]+)/(resolve|refs|tree)(?:/([^/?]+))?(?:/([^?]+))?", path)
    repo, what, revision, name = found.groups("") if found else ("", "", "", "")
    repository = REPOSITORIES.get(repo)
    if repository is None:
        return status(401, X_Error_Code="RepoNotFound")
    if repo == "org/gated":
        return status(403, X_Error_Code="GatedRepo")
    if what == "refs":
        refs = [{"name": name, "ref": name, "targetCommit": commit(files)} for name, files in repository.items()]
        return serve(json.dumps({"branches": refs[:2], "tags": refs[2:], "converts": []}).encode())
    revisions = {**repository, **{commit(files): files for files in repository.values()}}
    files = revisions.get(unquote(revision) or "main")
    if files is None:
        return status(404, X_Error_Code="RevisionNotFound")
    if what == "tree":
        listed = [{"type": "file", "path": each, "size": len(files[each]), "oid": "0" * 40} for each in files]
        return serve(json.dumps(listed).encode())
    if unquote(name) not in files:
        return status(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit(files))
    data = files[unquote(name)]
    return serve(data, X_Repo_Commit=commit(files), ETag=f'"{hashlib.sha256(data).hexdigest()}"')


class Client(NamedTuple):
    """Opens locations in a process that knows no other hub."""

    server: Server
    home: Path
    interpreter: Interpreter

    def open(self, *locations: Any, before: str = "", **environment: str) -> list[dict[str, Any]]:
        cases = [case if isinstance(case, tuple) else (case, {}) for case in locations]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        disabled = {f"HF_HUB_DISABLE_{name}": "1" for name in ("PROGRESS_BARS", "TELEMETRY", "IMPLICIT_TOKEN")}
        hub = {"HF_ENDPOINT": self.server.root, "HF_HOME": str(self.home), "no_proxy": "127.0.0.1"}
        env = {**kept, **disabled, **hub, **environment}
        printed = self.interpreter.check(f"{before}\n{OPEN}", text=json.dumps(cases), env=env)
        results: list[dict[str, Any]] = json.loads(printed.splitlines()[-1])
        return results

    def texts(self, *locations: Any, before: str = "", **environment: str) -> list[str]:
        return [result["error"] for result in self.open(*locations, before=before, **environment)]


@pytest.fixture
def client(tmp_path: Path, interpreter: Interpreter) -> Iterator[Client]:
    with running_server() as server:
        server.otherwise = lambda handler: response(handler.path)(handler)
        yield Client(server, tmp_path / "home", interpreter)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("org/repo", ("org/repo", None, None)),
        ("org/repo/", ("org/repo", None, None)),
        ("models/org/repo", ("org/repo", None, None)),
        ("models/repo", ("models/repo", None, None)),
        ("org/repo/a.bin", ("org/repo", "a.bin", None)),
        ("org/repo/sub/a.bin@v1.0", ("org/repo", "sub/a.bin", "v1.0")),
        ("org/repo/a.bin@feature/x", ("org/repo", "a.bin", "feature/x")),
        ("org/repo/a.bin@refs/pr/7", ("org/repo", "a.bin", "refs/pr/7")),
        ("org/repo/a@2x.bin@main", ("org/repo", "a@2x.bin", "main")),
        ("org/repo@v1.0", ("org/repo", None, "v1.0")),
        ("org/repo@v1.0/sub/a.bin", ("org/repo", "sub/a.bin", "v1.0")),
        ("org/repo@refs/pr/7/a.bin", ("org/repo", "a.bin", "refs/pr/7")),
        ("org/repo@feature%2Fx/a.bin", ("org/repo", "a.bin", "feature/x")),
    ],
)
def test_what_is_written(rest: str, expected: tuple[str, str | None, str | None]) -> None:
    repo, file, revision = expected
    assert follow(Location(text=f"hf://{rest}")) == (HubFile(repo=repo, file=file, revision=revision), None)


FORM = "is no name of a repository: write hf://org/repo, hf://org/repo/file or hf://org/repo/file@revision"
OUTSIDE = ("../../etc/passwd", "a/..", "/etc/passwd", "sub/", "a\\..\\b", "a\0", "a.bin@../../x", "a.bin@..%2Fx")


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        *((rest, FORM) for rest in ("", "repo", "repo@main", "/org/repo", "org//a.bin", "org/repo@", "org/repo/a@")),
        *((f"org/repo/{path}", "leads out of its repository, at ") for path in OUTSIDE),
        ("org/repo@main/a.bin@v1", "has two revisions"),
    ],
)
def test_what_is_no_file_of_a_repository(rest: str, says: str) -> None:
    assert says in str(error(f"hf://{rest}"))


def test_files(client: Client) -> None:
    sha = hashlib.sha256(tensors(w=2.0)).hexdigest()
    results = client.open(
        "hf://org/plain",
        "hf://org/plain/model.safetensors",
        "hf://org/plain/model.safetensors@v1.0",
        "hf://org/plain/model.safetensors@feature/x",
        f"hf://org/plain@{commit(BEFORE)}/model.safetensors",
        "hf://org/plain/sub/folder/net.pth",
        "hf://org/bin",
        ("hf://org/plain", {"sha256": sha[:12]}),
    )
    assert [result["found"]["w"] for result in results] == [2.0, 2.0, 1.0, 1.0, 1.0, 3.0, 4.0, 2.0]
    (path,) = results[0]["paths"]
    assert path.endswith(os.path.join("hub", "models--org--plain", "snapshots", commit(NOW), "model.safetensors"))


def test_sharded_files(client: Client) -> None:
    results = client.open(
        "hf://org/sharded",
        "hf://org/sharded/sub/model.safetensors.index.json",
        "hf://org/shards-bin",
        ("hf://org/sharded", {"revise_keys": [["^a$", "keep.a"]], "prefix": "keep"}),
    )
    assert [result["found"] for result in results] == [{"a": 5.0, "b": 6.0}, {"c": 7.0}, {"a": 8.0}, {"a": 5.0}]
    # Of the commit of the index, so that a branch that moves on in between does not mix two versions.
    shards = [path for path in client.server.requests if "one.safetensors" in path or "three.safetensors" in path]
    assert shards and all(f"/resolve/{commit(SHARDED)}/" in path for path in shards)


def test_the_cache_of_the_hub_is_used_offline(client: Client) -> None:
    client.open("hf://org/plain", "hf://org/bin", "hf://org/sharded")
    client.server.requests.clear()
    results = client.open("hf://org/plain", "hf://org/bin", "hf://org/sharded", "hf://org/none", HF_HUB_OFFLINE="1")
    assert [result.get("found") for result in results[:3]] == [{"w": 2.0}, {"w": 4.0}, {"a": 5.0, "b": 6.0}]
    assert "is not in the hub's cache, and the hub cannot be reached: check the network" in results[3]["error"]
    assert client.server.requests == []


def test_a_hub_that_cannot_be_reached(client: Client) -> None:
    client.open("hf://org/bin")
    locations = ("hf://org/bin", "hf://org/plain/model.safetensors")
    results = client.open(*locations, before=IMPATIENT, HF_ENDPOINT="http://127.0.0.1:9")
    assert results[0]["found"] == {"w": 4.0}
    assert "the hub cannot be reached: check the network, HF_ENDPOINT and HF_HUB_OFFLINE" in results[1]["error"]


def test_what_does_not_exist(client: Client) -> None:
    locations = (
        "hf://org/nothing",
        "hf://org/plain/model.safetensor",
        "hf://org/plain@v1.O",
        "hf://org/none",
        "hf://org/gated",
        "hf://org/ba..d",
        "hf://org/plain/model.safetensors@" + "f" * 40,
    )
    results = client.open(*locations)
    repo, file, revision, unusual, gated, bad, unknown_commit = (result["error"] for result in results)
    for location, result in zip(locations, results, strict=True):
        assert result["error"].startswith(f"here: checkpoint {location!r} ")
        assert result["cause"] not in ("NoneType", "CheckpointError")
    assert "a repository that the hub does not have, or does not show to you: 'org/nothing'" in repo
    assert "`hf auth login` or set HF_TOKEN" in repo
    assert "a file that 'org/plain' does not have: 'model.safetensor': give one that it has" in file
    assert "it has 'model.safetensors', 'sub/folder/net.pth'. Did you mean 'model.safetensors'?" in file
    assert "a revision that 'org/plain' does not have: 'v1.O'" in revision and revision.endswith("mean 'v1.0'?")
    assert "no weights of a usual name (model.safetensors, " in unusual
    assert unusual.endswith("name the file; it has 'weights/net.bin'")
    assert "is in a gated repository: accept its terms at https://huggingface.co/org/gated" in gated
    assert "is no name of a repository (HFValidationError: " in bad
    assert "a revision that 'org/plain' does not have" in unknown_commit
    broken, digest = client.texts("hf://org/broken", ("hf://org/plain", {"sha256": "0" * 8}))
    assert "holds an HTML or XML page" in broken
    assert "is not what it should be: sha256='00000000' was asked for" in digest


def test_a_hub_that_is_busy(client: Client) -> None:
    for path in ("api/models/org/plain/tree/main", "api/models/org/plain/refs", "org/bin/resolve/main/model.bin"):
        client.server.on(f"/{path}", status(500))
    locations = ("hf://org/plain/model.safetensor", "hf://org/plain@v1.O", "hf://org/bin/model.bin")
    file, revision, busy = client.texts(*locations, before=IMPATIENT)
    # Without a list of what exists the errors say less.
    assert file.endswith("a file that 'org/plain' does not have: 'model.safetensor': give one that it has")
    assert revision.endswith("'v1.O': give one of its branches, tags or commits")
    assert "the hub cannot be reached" in busy or "could not be fetched from the hub" in busy


def test_a_timm_name_ends_at_the_hub(client: Client) -> None:
    (result,) = client.open("timm://resnet50", before=WITH_TORCHVISION)
    assert result["found"] == {"w": 11.0}
