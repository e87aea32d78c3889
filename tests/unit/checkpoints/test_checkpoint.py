"""What is in a file: names, shapes, dtypes and values, whatever the format."""

from __future__ import annotations

import copy
import pathlib
import pickle
import sys
from collections import OrderedDict
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from autoinit.checkpoints import open_checkpoint
from tests.checkpoint_files import (
    FORMATS,
    PICKLED,
    Save,
    assert_same,
    error,
    rezip,
    save_safetensors,
    save_zip,
    state,
    values,
)


@FORMATS
def test_shapes_and_values(save: Save, path: pathlib.Path) -> None:
    expected = dict(sorted(state().items())) if save is save_safetensors else state()
    save(state(), path)
    checkpoint = open_checkpoint(path)
    shapes = {key: tensor.shape for key, tensor in expected.items()}
    assert dict(checkpoint.shapes) == shapes
    assert all(type(shape) is torch.Size for shape in checkpoint.shapes.values())
    assert_same({key: values(checkpoint)[key] for key in expected}, expected)


@FORMATS
def test_tensors_come_in_the_order_asked_for_and_once(save: Save, path: pathlib.Path) -> None:
    save(state(), path)
    wanted = ["head.fc.weight", "backbone.scale", "head.fc.weight"]
    checkpoint = open_checkpoint(path)
    got = dict(checkpoint.tensors(iter(wanted)))
    assert_same(got, {key: state()[key] for key in wanted})
    assert list(checkpoint.tensors([])) == []
    for tensor in got.values():
        tensor.zero_()
    again = values(open_checkpoint(path))
    assert_same({key: again[key] for key in state()}, state())
    with torch.device("meta"):
        again = values(open_checkpoint(path))
    assert_same({key: again[key] for key in state()}, state())


@PICKLED
@pytest.mark.parametrize("metadata", [False, True])
def test_state_dict_is_unwrapped(save: Save, path: pathlib.Path, metadata: bool) -> None:
    inner: Any = OrderedDict(state())
    if metadata:
        inner._metadata = OrderedDict({"": {"version": 1}})
    save({"meta": {"epoch": 3}, "state_dict": inner, "optimizer": {"state": {0: torch.ones(3)}}}, path)
    assert_same(values(open_checkpoint(path)), state())


@FORMATS
def test_leading_module_is_dropped_once(save: Save, path: pathlib.Path) -> None:
    save({"module.module.a": torch.ones(1), "b.module.c": torch.ones(2), "modules.d": torch.ones(3)}, path)
    assert set(open_checkpoint(path).shapes) == {"module.a", "b.module.c", "modules.d"}


@FORMATS
@pytest.mark.parametrize("prefix", ["backbone", "backbone."])
def test_prefix(save: Save, path: pathlib.Path, prefix: str) -> None:
    save(state(), path)
    checkpoint = open_checkpoint(path, prefix=prefix)
    assert checkpoint.prefix == "backbone."
    part = ("conv.weight", "conv.bias", "scale")
    assert set(checkpoint.shapes) == set(part)
    got = values(checkpoint)
    assert_same({key: got[key] for key in part}, {key: state()[f"backbone.{key}"] for key in part})
    save({"module.backbone.a": torch.ones(1), "backbone.module.a": torch.ones(2)}, path)
    assert set(open_checkpoint(path, prefix=prefix).shapes) == {"module.a"}, "as in the original"
    assert set(open_checkpoint(path, prefix=f"module.{prefix}").shapes) == {"a"}


@PICKLED
def test_what_is_no_tensor_is_ignored(save: Save, path: pathlib.Path) -> None:
    extra = {"a._extra_state": {"x": 1}, "a.counter": 7, 3: torch.ones(1), "a.none": None, "a.b": b"bytes"}
    save({"a.weight": torch.ones(2), **extra, "a.meta": torch.empty(2, device="meta")}, path)
    assert dict(open_checkpoint(path).shapes) == {"a.weight": torch.Size([2])}
    save({"state_dict": torch.ones(2), "a": torch.ones(3)}, path)
    assert list(open_checkpoint(path).shapes) == ["state_dict", "a"]


@PICKLED
def test_parameters_views_and_ties(save: Save, path: pathlib.Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tied = torch.nn.Parameter(base.clone())
    expected = {"row": base[1], "turned": base.t(), "a": tied, "b": tied, "frozen": base[:, 1:3]}
    save(expected, path)
    assert_same(values(open_checkpoint(path)), expected)


def test_a_file_of_a_machine_with_the_other_byte_order(path: pathlib.Path) -> None:
    save_zip({"w": torch.tensor([1, 256], dtype=torch.int32)}, path)
    other = b"big" if sys.byteorder == "little" else b"little"
    rezip(path, lambda name, data: other if name.endswith("byteorder") else data)
    assert values(open_checkpoint(path))["w"].tolist() == [1 << 24, 1 << 16]
    rezip(path, lambda name, data: b"strange" if name.endswith("byteorder") else data)
    assert "is truncated or damaged" in str(error(path))


def test_safetensors_by_suffix_and_by_content(tmp_path: pathlib.Path) -> None:
    for name in ("a.safetensors", "a.SafeTensors", "a.bin", "a"):
        save_file({"w": torch.ones(2, 3)}, tmp_path / name)
        assert dict(open_checkpoint(str(tmp_path / name)).shapes) == {"w": torch.Size([2, 3])}


def test_home_is_expanded_and_the_location_kept(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_zip(state(), path)
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.setenv("USERPROFILE", str(path.parent))
    monkeypatch.chdir(path.parent)
    for location in ("~/toy.pth", "toy.pth"):
        checkpoint = open_checkpoint(location)
        assert checkpoint.location == location
        with monkeypatch.context() as patch:
            patch.chdir("/")
            assert_same(values(checkpoint), state())


def test_checkpoints_are_values(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    save_zip(state(), path)
    save_zip(state(), tmp_path / "other.pth")
    checkpoint = open_checkpoint(path, prefix="backbone", origin="here")
    same = open_checkpoint(str(path), prefix="backbone.", map_location="cpu:0", origin="there")
    assert checkpoint == same
    assert hash(checkpoint) == hash(same)
    assert checkpoint != open_checkpoint(path)
    assert checkpoint != open_checkpoint(tmp_path / "other.pth", prefix="backbone")
    for copied in (pickle.loads(pickle.dumps(checkpoint)), copy.deepcopy(checkpoint)):
        assert copied == checkpoint
        assert_same(values(copied), values(checkpoint))
    assert repr(checkpoint) == f"Checkpoint({str(path)!r}, prefix='backbone.', 3 tensors)"
    assert repr(open_checkpoint(path)) == f"Checkpoint({str(path)!r}, 6 tensors)"
