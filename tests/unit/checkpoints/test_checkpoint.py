"""What is in a file: names, shapes, dtypes and values, whatever the format."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autoinit.checkpoints import open_checkpoint
from tests import checkpoint_files as files
from tests.checkpoint_files import FORMATS, PICKLED, Save, assert_same, error, rezip, save_safetensors, save_zip, values


@FORMATS
def test_shapes_and_values(save: Save, path: Path) -> None:
    state = files.state()
    save(state, path)
    checkpoint = open_checkpoint(path)
    assert dict(checkpoint.shapes) == {key: tensor.shape for key, tensor in state.items()}
    assert save is save_safetensors or list(checkpoint.shapes) == list(state)
    assert all(type(shape) is torch.Size for shape in checkpoint.shapes.values())
    # In the order asked for, and once; writing to them changes no file.
    wanted = ["head.fc.weight", "backbone.scale", "head.fc.weight"]
    got = dict(checkpoint.tensors(iter(wanted)))
    assert_same(got, {key: state[key] for key in wanted})
    assert list(checkpoint.tensors([])) == []
    for tensor in got.values():
        tensor.zero_()
    for device in ("cpu", "meta"):
        with torch.device(device):
            assert_same(dict(open_checkpoint(path).tensors(state)), state)


@PICKLED
def test_what_is_no_tensor_is_ignored(save: Save, path: Path) -> None:
    extra = {"a._extra_state": {"x": 1}, "a.counter": 7, 3: torch.ones(1), "a.none": None, "a.b": b"bytes"}
    save({"a.weight": torch.ones(2), **extra, "a.meta": torch.empty(2, device="meta")}, path)
    assert dict(open_checkpoint(path).shapes) == {"a.weight": torch.Size([2])}
    save({"state_dict": torch.ones(2), "a": torch.ones(3)}, path)
    assert list(open_checkpoint(path).shapes) == ["state_dict", "a"]


@PICKLED
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")  # torch's own, when it reads such a file
def test_odd_tensors_in_a_file(save: Save, path: Path) -> None:
    base = torch.arange(8.0)
    tied = torch.nn.Parameter(torch.ones(3))
    content = {
        "row": base[2:4],
        "turned": torch.arange(6.0).reshape(2, 3).t(),
        "a": tied,
        "b": tied,
        "wide": torch.ones(1).expand(5),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "negative": torch.tensor([1 + 2j]).conj().imag,
        "sparse": torch.eye(2).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8),
        "empty": torch.empty(0, 3),
    }
    for without in ({}, {"quantized"}, {"quantized", "sparse", "conjugate", "negative"}):
        part = {name: tensor for name, tensor in content.items() if name not in without}
        save({**part, "nothing": torch.empty(2, device="meta")}, path)
        checkpoint = open_checkpoint(path)
        assert set(checkpoint.shapes) == set(part)
        for name, tensor in checkpoint.tensors(part):
            assert tensor.dtype == part[name].dtype == checkpoint.dtypes[name] and not tensor.requires_grad
            assert tensor.shape == part[name].shape == checkpoint.shapes[name]
            assert torch.equal(dense(tensor), dense(part[name])), name


def dense(tensor: Tensor) -> Tensor:
    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    return (tensor.to_dense() if tensor.is_sparse else tensor).resolve_conj().resolve_neg()


def test_a_file_of_a_machine_with_the_other_byte_order(path: Path) -> None:
    save_zip({"w": torch.tensor([1, 256], dtype=torch.int32)}, path)
    other = b"big" if sys.byteorder == "little" else b"little"
    rezip(path, lambda name, data: other if name.endswith("byteorder") else data)
    assert values(open_checkpoint(path))["w"].tolist() == [1 << 24, 1 << 16]
    rezip(path, lambda name, data: b"strange" if name.endswith("byteorder") else data)
    assert "is truncated or damaged" in str(error(path))


def test_safetensors_by_suffix_and_by_content(tmp_path: Path) -> None:
    for name in ("a.safetensors", "a.SafeTensors", "a.bin", "a"):
        save_safetensors({"w": torch.ones(2, 3)}, tmp_path / name)
        assert dict(open_checkpoint(str(tmp_path / name)).shapes) == {"w": torch.Size([2, 3])}


def test_home_is_expanded_and_the_location_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_zip(files.state(), path)
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.setenv("USERPROFILE", str(path.parent))
    monkeypatch.chdir(path.parent)
    for location in ("~/toy.pth", "toy.pth"):
        checkpoint = open_checkpoint(location)
        assert checkpoint.location == location
        with monkeypatch.context() as patch:
            patch.chdir("/")
            assert_same(values(checkpoint), files.state())


def test_checkpoints_are_values(path: Path, tmp_path: Path) -> None:
    for each in (path, tmp_path / "other.pth"):
        save_zip(files.state(), each)
    checkpoint = open_checkpoint(path, prefix="backbone", origin="here")
    same = open_checkpoint(str(path), prefix="backbone.", map_location="cpu:0", origin="there")
    assert checkpoint == same and hash(checkpoint) == hash(same)
    assert checkpoint != open_checkpoint(path)
    assert checkpoint != open_checkpoint(tmp_path / "other.pth", prefix="backbone")
    for copied in (pickle.loads(pickle.dumps(checkpoint)), copy.deepcopy(checkpoint)):
        assert copied == checkpoint
        assert_same(values(copied), values(checkpoint))
    assert repr(checkpoint) == f"Checkpoint({str(path)!r}, prefix='backbone.', 3 tensors)"
    assert repr(open_checkpoint(path)) == f"Checkpoint({str(path)!r}, 6 tensors)"
