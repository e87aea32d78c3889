"""Sharded checkpoints: an index, and the files that it names."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autoinit.checkpoints import open_checkpoint
from tests.checkpoint_files import Save, assert_same, digest, error, save_old, save_safetensors, save_zip, state, values

from .http_server import Server, serve

KINDS = pytest.mark.parametrize(
    ("save", "suffix"),
    [(save_zip, "pytorch_model.bin"), (save_old, "pytorch_model.bin"), (save_safetensors, "model.safetensors")],
)


def shard(folder: Path, save: Save = save_safetensors, suffix: str = "model.safetensors", count: int = 3) -> Path:
    """Write `state()` as so many shards and an index."""
    stem, _, extension = suffix.rpartition(".")
    names = [f"{stem}-{number + 1:05d}-of-{count:05d}.{extension}" for number in range(count)]
    parts: list[dict[str, Tensor]] = [{} for _ in names]
    for number, (key, tensor) in enumerate(state().items()):
        parts[number % count][key] = tensor
    for name, part in zip(names, parts, strict=True):
        save(part, folder / name)
    index = folder / f"{suffix}.index.json"
    weight_map = {key: names[number % count] for number, key in enumerate(state())}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


def rewrite(index: Path, **changes: object) -> None:
    content = json.loads(index.read_text())
    content["weight_map"].update(changes)
    index.write_text(json.dumps(content))


@KINDS
def test_shapes_and_values(save: Save, suffix: str, tmp_path: Path) -> None:
    index = shard(tmp_path, save, suffix)
    for location in (index, tmp_path, str(tmp_path) + os.sep):
        checkpoint = open_checkpoint(location)
        assert dict(checkpoint.shapes) == {key: tensor.shape for key, tensor in state().items()}
        assert dict(checkpoint.dtypes) == {key: tensor.dtype for key, tensor in state().items()}
        assert_same(values(checkpoint), state())
    backwards = list(state())[::-1]
    assert_same(dict(checkpoint.tensors(backwards)), {key: state()[key] for key in backwards})
    assert_same(values(pickle.loads(pickle.dumps(checkpoint))), state())


@KINDS
def test_only_what_is_needed_is_opened(save: Save, suffix: str, tmp_path: Path) -> None:
    shard(tmp_path, save, suffix)
    for path in tmp_path.iterdir():
        if "-00002-" not in path.name and not path.name.endswith(".json"):
            path.unlink()
    # The second of three shards has the second and the fifth tensor.
    checkpoint = open_checkpoint(tmp_path, prefix="body", revise_keys=(("^head.empty", "x"), ("^head", "body")))
    assert_same(values(checkpoint), {"fc.weight": state()["head.fc.weight"]})
    assert "has nothing under the prefix 'had'" in str(error(tmp_path, prefix="had"))


def test_a_folder_prefers_safetensors(tmp_path: Path) -> None:
    shard(tmp_path, save_zip, "pytorch_model.bin", count=2)
    save_safetensors({"w": torch.ones(1)}, tmp_path / "model.safetensors")
    assert list(open_checkpoint(tmp_path).shapes) == ["w"]
    folder = tmp_path / "of one index"
    folder.mkdir()
    shard(folder, suffix="diffusion_pytorch_model.safetensors")
    assert_same(values(open_checkpoint(folder)), state())


def test_a_shard_that_is_missing_or_lacks_a_tensor_of_the_index(tmp_path: Path) -> None:
    index, second = shard(tmp_path), "model-00002-of-00003.safetensors"
    rewrite(index, extra=second)
    says = f"(its shard '{second}') has no tensor 'extra', which the index says is in it"
    assert says in str(error(index))
    (tmp_path / second).unlink()
    text = str(error(index))
    assert f"checkpoint '{index}' (its shard '{second}') does not exist" in text
    assert text.endswith("get it from where its index is from, and put it beside that")


@KINDS
def test_a_damaged_shard(save: Save, suffix: str, tmp_path: Path) -> None:
    index = shard(tmp_path, save, suffix)
    (path,) = tmp_path.glob("*-00002-*")
    path.write_bytes(path.read_bytes()[:-8])
    text = str(error(index))
    assert f"(its shard {path.name!r}) is" in text and "truncated" in text


@pytest.mark.parametrize(
    "name",
    ["../model.safetensors", "/etc/passwd", "a/b.bin", "..", ".", "", "a\\b.bin", "C:a.bin", "a\0b", 3, None, ["a"]],
)
def test_shards_that_are_not_beside_the_index(tmp_path: Path, name: Any) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    save_safetensors({"extra": torch.ones(1)}, tmp_path / "model.safetensors")
    index = shard(folder)
    rewrite(index, extra=name)
    text = str(error(index))
    assert f"puts 'extra' into {name!r}, which is not the name of a file beside it, and was refused" in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"weight_map": {}}', "is an index of no tensors"),
        ('{"weight_map": []}', "holds JSON, not weights"),
        ('{"a": 1}', "holds JSON, not weights"),
        ('{"weight_map": {"a": "b"}', "holds JSON that is truncated or damaged"),
        ("{" * 100_000, "holds JSON that is truncated or damaged"),
        ('{"a": ' * 100_000, "holds JSON that is truncated or damaged"),
        (b'{"weight_map": {"\xff": "b"}}', "holds JSON that is truncated or damaged"),
    ],
)
def test_indexes_that_are_none(tmp_path: Path, content: str | bytes, says: str) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert says in str(error(path))
    with path.open("wb") as file:
        file.write(b"{")
        file.truncate(65 << 20)
    assert "too much of it for an index" in str(error(path))


def test_what_a_sharded_checkpoint_cannot_be(tmp_path: Path) -> None:
    index = shard(tmp_path)
    assert "is an index, and has no part called 'model': leave key= out" in str(error(index, key="model"))
    digest_of_index = digest(index.read_bytes())
    assert "is an index of several files, and sha256= is of one" in str(error(index, sha256=digest_of_index))
    rewrite(index, extra=index.name)
    assert "holds JSON, not weights" in str(error(index))


def test_a_shard_that_changes(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(shard(tmp_path), origin="here")
    save_safetensors({"backbone.conv.bias": torch.ones(4)}, tmp_path / "model-00002-of-00003.safetensors")
    next(checkpoint.tensors(["backbone.conv.weight"]))
    with pytest.raises(Exception, match=r"shard 'model-00002-of-00003.safetensors'\) has changed since it was opened"):
        next(checkpoint.tensors(["backbone.conv.bias"]))


def test_shards_are_fetched_as_they_are_needed(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    shard(folder)
    for path in folder.iterdir():
        server.on(f"/a/b/{path.name}", serve(path.read_bytes()))
    url = f"{server.root}/a/b/model.safetensors.index.json"
    assert list(open_checkpoint(url, prefix="backbone_2").shapes) == ["fc.weight"]
    assert server.requests == ["/a/b/model.safetensors.index.json", "/a/b/model-00001-of-00003.safetensors"]
    checkpoint = open_checkpoint(url)
    assert_same(values(checkpoint), state())
    assert len(server.requests) == 4
    assert_same(values(open_checkpoint(url)), state())
    assert len(server.requests) == 4
    server.acts.pop("/a/b/model-00002-of-00003.safetensors")
    Path(checkpoint.stored["backbone.conv.bias"].source.path).unlink()
    text = str(error(url))
    assert "model-00002-of-00003.safetensors" in text and "does not exist on its server (404 Not Found)" in text
