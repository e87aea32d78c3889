"""Paths: what is found, and what is said where nothing is."""

from __future__ import annotations

import io
import os
import pathlib

import pytest

from autoinit.checkpoints import open_checkpoint, register_checkpoints
from autoinit.errors import CheckpointError
from tests.checkpoint_files import (
    error,
    save_safetensors,
    save_zip,
    state,
)


def test_missing_names_the_nearest_file(tmp_path: pathlib.Path) -> None:
    for name in ("resnet50.pth", "vgg16.pth"):
        (tmp_path / name).write_bytes(b"x")
    text = str(error(tmp_path / "resnet5O.pth"))
    assert "does not exist" in text
    assert text.endswith("Did you mean 'resnet50.pth'?")
    assert "Did you mean" not in str(error(tmp_path / "zzz"))
    assert isinstance(error(tmp_path / "zzz").__cause__, FileNotFoundError)
    for folder in (tmp_path / "none", tmp_path / "vgg16.pth"):
        assert f"there is no folder {str(folder)!r}" in str(error(folder / "toy.pth"))


def test_directory_names_a_checkpoint_in_it(tmp_path: pathlib.Path) -> None:
    assert "is a directory: give the path of a file" in str(error(tmp_path))
    (tmp_path / "readme.md").write_bytes(b"x")
    for name in ("a.pth", "b.pth", "a.index.json", "b.index.json"):
        (tmp_path / name).write_bytes(b"x")
    assert str(error(tmp_path)).endswith("is a directory: give the path of a file in it, e.g. 'a.index.json'")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_directory_stands_for_its_checkpoint_of_a_usual_name(tmp_path: pathlib.Path, name: str) -> None:
    save_zip(state(), tmp_path / "optimizer.bin")
    (save_safetensors if name.endswith("tensors") else save_zip)(state(), tmp_path / name)
    assert set(open_checkpoint(tmp_path).shapes) == set(state())
    (tmp_path / name).write_bytes(b"x" * 600)
    assert f"checkpoint '{tmp_path}' (its {name!r}) is neither" in str(error(tmp_path))


def test_an_empty_path_is_not_the_current_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_safetensors(state(), tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    register_checkpoints("nothing", {"here": ""})
    for location in ("", "nothing://here"):
        assert "names no file: give a path, a URL or a name" in str(error(location))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in str(error(tmp_path / "pipe"))


@pytest.mark.parametrize("location", [None, 3, b"toy.pth", io.BytesIO(b"x"), {"state_dict": {}}])
def test_not_a_path(location: object) -> None:
    assert "is not a path" in str(error(location))


def test_unreadable(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    text = str(error(path))
    monkeypatch.undo()
    assert "cannot be read (Permission denied)" in text
    assert "null" in str(error("a\0b"))


def test_without_an_origin(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CheckpointError, match=r"\Acheckpoint '.*none.pth' does not exist: ") as caught:
        open_checkpoint(tmp_path / "none.pth")
    assert caught.value.origin is None
    assert isinstance(caught.value, RuntimeError)
