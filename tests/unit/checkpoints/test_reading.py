"""Files that are missing, damaged, foreign, or not what they were."""

from __future__ import annotations

import argparse
import io
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from autoinit.checkpoints import open_checkpoint, register_checkpoints
from autoinit.errors import CheckpointError
from tests.checkpoint_files import (
    FORMATS,
    PICKLED,
    Save,
    assert_same,
    error,
    rezip,
    save_old,
    save_safetensors,
    save_zip,
    state,
)


def test_missing_names_the_nearest_file(tmp_path: Path) -> None:
    for name in ("resnet50.pth", "vgg16.pth"):
        (tmp_path / name).write_bytes(b"x")
    text = str(error(tmp_path / "resnet5O.pth"))
    assert "does not exist" in text and text.endswith("Did you mean 'resnet50.pth'?")
    assert "Did you mean" not in str(error(tmp_path / "zzz"))
    assert isinstance(error(tmp_path / "zzz").__cause__, FileNotFoundError)
    for folder in (tmp_path / "none", tmp_path / "vgg16.pth"):
        assert f"there is no folder {str(folder)!r}" in str(error(folder / "toy.pth"))
    with pytest.raises(CheckpointError, match=r"\Acheckpoint '.*none.pth' does not exist: ") as caught:
        open_checkpoint(tmp_path / "none.pth")
    assert caught.value.origin is None and isinstance(caught.value, RuntimeError)


def test_a_folder_names_a_checkpoint_in_it(tmp_path: Path) -> None:
    assert "is a directory: give the path of a file" in str(error(tmp_path))
    for name in ("readme.md", "a.pth", "b.pth", "a.index.json", "b.index.json"):
        (tmp_path / name).write_bytes(b"x")
    assert str(error(tmp_path)).endswith("is a directory: give the path of a file in it, e.g. 'a.index.json'")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_stands_for_its_checkpoint_of_a_usual_name(tmp_path: Path, name: str) -> None:
    save_zip(state(), tmp_path / "optimizer.bin")
    (save_safetensors if name.endswith("tensors") else save_zip)(state(), tmp_path / name)
    assert set(open_checkpoint(tmp_path).shapes) == set(state())
    (tmp_path / name).write_bytes(b"x" * 600)
    assert f"checkpoint '{tmp_path}' (its {name!r}) is neither" in str(error(tmp_path))


def test_an_empty_path_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_safetensors(state(), tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    register_checkpoints("nothing", {"here": ""})
    for location in ("", "nothing://here"):
        assert "names no file: give a path, a URL or a name" in str(error(location))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in str(error(tmp_path / "pipe"))


@pytest.mark.parametrize("location", [None, 3, b"toy.pth", io.BytesIO(b"x"), {"state_dict": {}}])
def test_not_a_path(location: object) -> None:
    assert "is not a path" in str(error(location))


def raising(exception: Exception) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise exception

    return fail


def test_unreadable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"x")
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", raising(PermissionError(13, "Permission denied")))
        text = str(error(path))
    assert "cannot be read (Permission denied)" in text
    assert "null" in str(error("a\0b"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n  <!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"\xef\xbb\xbf<html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b'{"a": 1}', "holds JSON, not weights"),
        (b"\x1f\x8b\x08\x00" + bytes(40), "gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
        (b"PK\x03\x04" + bytes(100), "' is truncated or damaged"),
        (bytes(1000), "neither a file of torch.save nor a safetensors file"),
        (b"cat\ndog\n" * 9, "neither"),
        (b"\x80\x02garbage", "neither"),
        (bytes(range(255, 100, -1)), "neither"),
    ],
)
@pytest.mark.parametrize("name", ["toy.pth", "toy.safetensors", "toy"])
def test_foreign_content(content: bytes, says: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    if name.endswith(".safetensors") and content.startswith(b"PK"):
        says = "rename it to .pth"
    assert says in str(error(tmp_path / name))


@FORMATS
def test_truncated_anywhere(save: Save, path: Path) -> None:
    save(state(), path)
    whole = path.read_bytes()
    lengths = [*range(1, len(whole), 41), *range(len(whole) - 9, len(whole))]
    assert len(lengths) > 15
    for length in lengths:
        path.write_bytes(whole[:length])
        says = "' is (a )?truncated" if length >= 40 else "truncated"
        assert re.search(says, str(error(path))), f"cut at {length} of {len(whole)}"
    path.write_bytes(whole)
    assert len(open_checkpoint(path).shapes) == len(state())


def test_an_old_file_without_its_last_byte(path: Path) -> None:
    save_old({"state_dict": {"a": torch.ones(2)}, "z": {"state": [torch.ones(500), torch.ones(500)]}}, path)
    path.write_bytes(path.read_bytes()[:-1])
    assert "is truncated, it should have" in str(error(path))


def test_archives_that_are_no_checkpoints(path: Path) -> None:
    pickled = {"toy/data.pkl": b"\x80\x02}.", "toy/constants.pkl": b"\x80\x02)."}
    for records, says in (({"word/document.xml": b"<w/>"}, "but not one of torch.save"), (pickled, "TorchScript")):
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in records.items():
                archive.writestr(name, data)
        assert says in str(error(path))
    save_zip({"a": torch.ones(2), "args": argparse.Namespace(lr=0.1)}, path)
    rezip(path, lambda name, data: None if name.endswith("data/0") else data)
    assert "is truncated or damaged" in str(error(path)), "a record is missing"


@PICKLED
@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, [torch.ones(1)], torch.ones(1), {"a": 1}, 3, None])
def test_no_tensors(save: Save, content: object, path: Path) -> None:
    save(content, path)
    assert "holds no tensors by name" in str(error(path))
    save_safetensors({}, path)
    assert "holds no tensors" in str(error(path))


def test_a_prefix_that_selects_nothing(path: Path) -> None:
    save_zip(state(), path)
    text = str(error(path, prefix="backbon"))
    assert "has nothing under the prefix 'backbon'" in text
    assert all(repr(top) in text for top in ("backbone", "backbone_2", "head"))
    assert text.endswith("Did you mean 'backbone'?")
    for prefix in ("", ".", "conv.weight", "backbone.scale"):
        assert "has nothing under" in str(error(path, prefix=prefix))
    for odd in (3, b"backbone", ["backbone"]):
        assert "has a prefix that is no string" in str(error(path, prefix=odd))
    save_zip({f"module.{key}": tensor for key, tensor in state().items()}, path)
    assert str(error(path, prefix="backbone")).endswith("Did you mean 'module.backbone'?")
    save_zip({f"layer{i}.weight": torch.ones(1) for i in range(50)}, path)
    assert str(error(path, prefix="zzz")).endswith("'layer7', ...")
    save_zip({"weight": torch.ones(1)}, path)
    assert "its names have no dots" in str(error(path, prefix="zzz"))


@pytest.mark.parametrize("device", ["gpu", "cuda:9999", "meta", 3, {"cuda:0": "cpu"}, lambda storage, _: storage])
def test_a_device_that_is_not_there(device: Any, path: Path) -> None:
    save_zip(state(), path)
    text = str(error(path, map_location=device))
    assert text.endswith("give a device that is there, such as 'cpu'")
    assert ("(" in text.partition("cannot be read to ")[2]) is (device in ("gpu", "cuda:9999")), "torch's own reason"
    assert ("has a map_location that is no device" in text) is not isinstance(device, str)


def test_unknown_keys(path: Path) -> None:
    save_zip(state(), path)
    checkpoint = open_checkpoint(path, prefix="backbone", origin="here")
    with pytest.raises(CheckpointError, match=r"\Ahere: .*no tensor 'conv.wieght'.*Did you mean 'conv.weight'"):
        checkpoint.tensors(["scale", "conv.wieght"])


def test_a_file_that_goes_while_it_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: object, **__: object) -> None:
        path.unlink()
        raise OSError("lost")

    save_zip(state(), path)
    monkeypatch.setattr(torch, "load", lose)
    assert "does not exist" in str(error(path))


@FORMATS
def test_a_file_that_has_changed(save: Save, path: Path) -> None:
    save(state(), path)
    checkpoint = open_checkpoint(path, origin="here")
    other, zeros = path.with_name("other"), {name: torch.zeros_like(tensor) for name, tensor in state().items()}
    save(zeros, path)
    with pytest.raises(CheckpointError, match=r"\Ahere: .*has changed since it was opened: open it again"):
        next(checkpoint.tensors(["backbone.scale"]))
    tensors = open_checkpoint(path, origin="here").tensors(state())
    next(tensors)
    save(state(), other)
    other.replace(path)  # As a training run replaces its last checkpoint.
    if save in (save_zip, save_safetensors):  # Others are read whole at the first tensor.
        with pytest.raises(CheckpointError, match=r"\Ahere: .*has changed since it was opened: open it again"):
            next(tensors)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"\Ahere: .* does not exist"):
        next(checkpoint.tensors(["backbone.scale"]))


@FORMATS
def test_a_file_that_is_cut_off_while_it_is_read(save: Save, path: Path) -> None:
    save(state(), path)
    tensors = open_checkpoint(path).tensors(["backbone.scale", "head.fc.weight", "backbone.conv.bias"])
    next(tensors)
    path.write_bytes(path.read_bytes()[:40])
    # What is not mapped was read before; what is mapped lies behind the end of the file now.
    if save in (save_zip, save_safetensors):
        with pytest.raises(CheckpointError, match="truncated|has changed"):
            list(tensors)
    else:
        assert_same(dict(tensors), {key: state()[key] for key in ("head.fc.weight", "backbone.conv.bias")})
