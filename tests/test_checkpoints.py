"""`autoinit.checkpoints`: what is in a file, read lazily, and every way in which a file can be wrong."""

from __future__ import annotations

import argparse
import copy
import gc
import io
import itertools
import json
import os
import pathlib
import pickle
import re
import subprocess
import sys
import tempfile
import threading
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from autoinit.checkpoints import Checkpoint, open_checkpoint
from autoinit.checkpoints.placeholders import placeholders
from autoinit.errors import CheckpointError

Save = Callable[[Any, pathlib.Path], None]


def save_zip(content: object, path: pathlib.Path) -> None:
    torch.save(content, path)


def save_old(content: object, path: pathlib.Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_safetensors(content: Any, path: pathlib.Path) -> None:
    save_file(content, path)


def save_compressed(content: object, path: pathlib.Path) -> None:
    torch.save(content, path)
    rezip(path, compression=zipfile.ZIP_DEFLATED)


def rezip(path: pathlib.Path, *, compression: int = zipfile.ZIP_STORED, **replaced: tuple[bytes, bytes]) -> None:
    """Write a file of torch.save again as another program would, with bytes of its pickle replaced."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records.items():
            for old, new in replaced.values():
                data = data.replace(old, new) if name.endswith("data.pkl") else data
            archive.writestr(name, data)


FORMATS = pytest.mark.parametrize("save", [save_zip, save_old, save_safetensors, save_compressed])
PICKLED = pytest.mark.parametrize("save", [save_zip, save_old])


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "toy.pth"


def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "backbone.conv.weight": torch.randn(4, 3, 2, 2),
        "backbone.conv.bias": torch.randn(4).to(torch.bfloat16),
        "backbone.scale": torch.tensor(1.5, dtype=torch.float64),
        "backbone_2.fc.weight": torch.randn(2, 4, dtype=torch.float16),
        "head.fc.weight": torch.arange(8).reshape(2, 4),
        "head.empty": torch.empty(0, 7),
    }


def values(checkpoint: Checkpoint) -> dict[str, Tensor]:
    return dict(checkpoint.tensors(checkpoint.shapes))


def assert_same(got: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(got) == list(expected)
    for key, tensor in expected.items():
        assert got[key].dtype == tensor.dtype
        assert not got[key].requires_grad
        torch.testing.assert_close(got[key], tensor.detach(), rtol=0, atol=0)


def error(location: object, **options: Any) -> CheckpointError:
    """The error of opening `location`; its form is that of all errors here."""
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(location, origin="init_cfg[0]", **options)  # type: ignore[arg-type]
    assert caught.value.origin == "init_cfg[0]"
    text = str(caught.value)
    assert re.fullmatch(r"init_cfg\[0\]: checkpoint .+?: .+", text, re.DOTALL), text
    assert text.count("init_cfg[0]") == 1
    return caught.value


# What is in a file


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
    got = list(open_checkpoint(path).tensors(iter(wanted)))
    assert [key for key, _ in got] == ["head.fc.weight", "backbone.scale"]
    assert_same(dict(got), {key: state()[key] for key in wanted})
    assert list(open_checkpoint(path).tensors([])) == []


@PICKLED
@pytest.mark.parametrize("metadata", [False, True])
def test_state_dict_is_unwrapped(save: Save, path: pathlib.Path, metadata: bool) -> None:
    inner: Any = OrderedDict(state())
    if metadata:
        inner._metadata = OrderedDict({"": {"version": 1}})
    save({"meta": {"epoch": 3}, "state_dict": inner, "optimizer": {"state": {0: torch.ones(3)}}}, path)
    assert_same(values(open_checkpoint(path)), state())


@PICKLED
def test_a_tensor_called_state_dict_is_a_tensor(save: Save, path: pathlib.Path) -> None:
    save({"state_dict": torch.ones(2), "a": torch.ones(3)}, path)
    assert list(open_checkpoint(path).shapes) == ["state_dict", "a"]


@FORMATS
def test_leading_module_is_dropped_once(save: Save, path: pathlib.Path) -> None:
    save({"module.module.a": torch.ones(1), "b.module.c": torch.ones(2), "modules.d": torch.ones(3)}, path)
    assert set(open_checkpoint(path).shapes) == {"module.a", "b.module.c", "modules.d"}


@FORMATS
@pytest.mark.parametrize("prefix", ["backbone", "backbone."])
def test_prefix(save: Save, path: pathlib.Path, prefix: str) -> None:
    save(state(), path)
    checkpoint = open_checkpoint(path, prefix=prefix)
    part = {
        "conv.weight": "backbone.conv.weight",
        "conv.bias": "backbone.conv.bias",
        "scale": "backbone.scale",
    }
    assert checkpoint.prefix == "backbone."
    assert set(checkpoint.shapes) == set(part)
    got = values(checkpoint)
    assert_same({key: got[key] for key in part}, {key: state()[name] for key, name in part.items()})


@FORMATS
def test_with_a_prefix_module_stays_as_in_the_original(save: Save, path: pathlib.Path) -> None:
    save({"module.backbone.a": torch.ones(1), "backbone.module.a": torch.ones(2)}, path)
    assert set(open_checkpoint(path, prefix="backbone").shapes) == {"module.a"}
    assert set(open_checkpoint(path, prefix="module.backbone").shapes) == {"a"}


@PICKLED
def test_what_is_no_tensor_is_ignored(save: Save, path: pathlib.Path) -> None:
    extra = {"a._extra_state": {"x": 1}, "a.counter": 7, 3: torch.ones(1), "a.none": None, "a.b": b"bytes"}
    save({"a.weight": torch.ones(2), **extra, "a.meta": torch.empty(2, device="meta")}, path)
    assert dict(open_checkpoint(path).shapes) == {"a.weight": torch.Size([2])}


@PICKLED
def test_parameters_views_and_ties(save: Save, path: pathlib.Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tied = torch.nn.Parameter(base.clone())
    expected = {"row": base[1], "turned": base.t(), "a": tied, "b": tied, "frozen": base[:, 1:3]}
    save(expected, path)
    assert_same(values(open_checkpoint(path)), expected)


def test_safetensors_by_suffix_and_by_content(tmp_path: pathlib.Path) -> None:
    for name in ("a.safetensors", "a.SafeTensors", "a.bin", "a"):
        save_file({"w": torch.ones(2, 3)}, tmp_path / name)
        assert dict(open_checkpoint(str(tmp_path / name)).shapes) == {"w": torch.Size([2, 3])}


def test_home_is_expanded_and_the_location_kept(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_zip(state(), path)
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.setenv("USERPROFILE", str(path.parent))
    checkpoint = open_checkpoint("~/toy.pth")
    assert checkpoint.location == "~/toy.pth"
    assert_same(values(checkpoint), state())


def test_a_relative_path_outlives_chdir(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_zip(state(), path)
    monkeypatch.chdir(path.parent)
    checkpoint = open_checkpoint("toy.pth")
    monkeypatch.chdir("/")
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


@FORMATS
def test_a_default_device_changes_nothing(save: Save, path: pathlib.Path) -> None:
    save(state(), path)
    with torch.device("meta"):
        got = values(open_checkpoint(path))
    assert_same({key: got[key] for key in state()}, state())


@FORMATS
def test_writing_to_a_tensor_leaves_the_file_alone(save: Save, path: pathlib.Path) -> None:
    save(state(), path)
    for _, tensor in open_checkpoint(path).tensors(state()):
        tensor.zero_()
    got = values(open_checkpoint(path))
    assert_same({key: got[key] for key in state()}, state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@FORMATS
def test_map_location_cuda(save: Save, path: pathlib.Path) -> None:
    save(state(), path)
    got = values(open_checkpoint(path, map_location="cuda"))
    assert {tensor.device.type for tensor in got.values()} == {"cuda"}
    assert_same({key: got[key].cpu() for key in state()}, state())


# Cheap to open, cheap to read


def mebibytes(key: str) -> float:
    """Resident memory, mapped pages included: `VmRSS` now, `VmHWM` at its peak."""
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        pytest.skip("no /proc/self/status")
    return int(re.findall(rf"{key}:\s+(\d+) kB", status)[0]) / 1024


@contextmanager
def memory_grows_by_less_than(limit: int) -> Iterator[None]:
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    except OSError:
        pytest.skip("no /proc/self/clear_refs")
    before = mebibytes("VmRSS")
    yield
    grown = mebibytes("VmHWM") - before
    assert grown < limit, f"memory grew by {grown:.0f} MiB"


@pytest.fixture(scope="module")
def big_state() -> dict[str, Tensor]:
    return {f"layer{i}.weight": torch.full((1 << 20,), float(i)) for i in range(64)}  # 256 MiB


@pytest.mark.parametrize("save", [save_zip, save_old, save_safetensors])
def test_shapes_read_no_values(save: Save, path: pathlib.Path, big_state: dict[str, Tensor]) -> None:
    save(big_state, path)
    open_checkpoint(path)  # what torch imports and allocates only once
    with memory_grows_by_less_than(32):
        assert open_checkpoint(path).shapes["layer63.weight"] == (1 << 20,)


@pytest.mark.parametrize("save", [save_zip, save_safetensors])
def test_values_do_not_pile_up(save: Save, path: pathlib.Path, big_state: dict[str, Tensor]) -> None:
    save(big_state, path)
    checkpoint = open_checkpoint(path)
    with memory_grows_by_less_than(160):
        for i, (_, tensor) in enumerate(checkpoint.tensors(big_state)):
            assert float(tensor.sum()) == i * (1 << 20)
    assert i == 63


def test_values_of_an_old_file_are_let_go(path: pathlib.Path) -> None:
    def alive() -> int:
        return sum(type(thing) is Tensor and thing.numel() == 12_347 for thing in gc.get_objects())

    save_old({str(i): torch.ones(12_347) for i in range(4)}, path)
    counts = [alive() for _ in open_checkpoint(path).tensors("0123")]
    assert [before - after for before, after in itertools.pairwise(counts)] == [1, 1, 1]


def test_a_huge_sparse_file_is_opened(path: pathlib.Path) -> None:
    size = 8 << 30
    header = {"w": {"dtype": "F32", "shape": [2, size // 8], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        try:
            file.truncate(8 + len(text) + size)
        except OSError:
            pytest.skip("no sparse files here")
    with memory_grows_by_less_than(32):
        assert dict(open_checkpoint(path).shapes) == {"w": torch.Size([2, size // 8])}


# OpenMMLab


@pytest.fixture(scope="module")
def mmengine() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports use what torch has deprecated
        import mmengine
        import mmengine.logging
        import mmengine.runner.checkpoint
    return mmengine


@pytest.fixture
def openmmlab(mmengine: Any) -> dict[str, Any]:
    """What mmengine's runner saves: weights, meta, and a message hub of history buffers and numpy values."""
    import numpy as np

    hub = mmengine.logging.MessageHub("test_checkpoints")
    for loss in (0.5, 0.25):
        hub.update_scalar("train/loss", loss)
    hub.update_scalar("train/acc", np.float64(0.75))
    hub.update_info("iter", np.int64(3))
    hub.update_info("scores", np.arange(3.0))
    meta = {"epoch": 1, "cfg": "model = dict()", "args": argparse.Namespace(lr=0.1)}
    return {"meta": meta, "state_dict": OrderedDict(state()), "message_hub": hub.state_dict()}


@PICKLED
def test_openmmlab(save: Save, path: pathlib.Path, openmmlab: dict[str, Any]) -> None:
    save(openmmlab, path)
    with pytest.raises(pickle.UnpicklingError, match=r"HistoryBuffer|getattr|numpy|Namespace"):
        torch.load(path, weights_only=True)
    before = set(torch.serialization.get_safe_globals())
    assert_same(values(open_checkpoint(path)), state())
    assert set(torch.serialization.get_safe_globals()) == before


def test_openmmlab_saved_by_the_runner(path: pathlib.Path, openmmlab: dict[str, Any], mmengine: Any) -> None:
    mmengine.runner.checkpoint.save_checkpoint(openmmlab, str(path))
    assert_same(values(open_checkpoint(path, prefix="head")), values(open_checkpoint(path, prefix="head.")))
    assert len(open_checkpoint(path).shapes) == len(state())


def test_openmmlab_with_names_of_numpy_1(path: pathlib.Path, openmmlab: dict[str, Any]) -> None:
    save_zip(openmmlab, path)
    rezip(path, names=(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert_same(values(open_checkpoint(path)), state())


def test_openmmlab_needs_no_mmengine(path: pathlib.Path, openmmlab: dict[str, Any]) -> None:
    save_zip(openmmlab, path)
    code = (
        "import sys; from autoinit.checkpoints import open_checkpoint; open_checkpoint(sys.argv[1]);"
        "assert not {'mmengine', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=120)


@PICKLED
def test_openmmlab_leaves_mmengine_and_the_users_globals_alone(
    save: Save, path: pathlib.Path, openmmlab: dict[str, Any], mmengine: Any
) -> None:
    buffer = mmengine.logging.HistoryBuffer
    methods = dict(buffer._statistics_methods)
    save(openmmlab, path)
    with torch.serialization.safe_globals([buffer, (argparse.Namespace, "argparse.Namespace")]):
        before = torch.serialization.get_safe_globals()
        assert len(open_checkpoint(path).shapes) == len(state())
        assert set(torch.serialization.get_safe_globals()) == set(before)
    assert buffer._statistics_methods == methods


def test_openmmlab_from_many_threads(path: pathlib.Path, openmmlab: dict[str, Any]) -> None:
    save_zip(openmmlab, path)
    expected = state()  # seeds torch's generator, which the threads share
    failures: list[Exception] = []

    def read() -> None:
        try:
            for _ in range(5):
                assert_same(values(open_checkpoint(path)), expected)
        except Exception as e:
            failures.append(e)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


NAMES = st.lists(st.sampled_from(["module", "backbone", "head", "a", "b"]), min_size=1, max_size=4).map(".".join)


@given(
    names=st.lists(NAMES, min_size=1, max_size=8, unique=True),
    prefix=st.none() | NAMES | NAMES.map(lambda name: name + ".") | st.sampled_from(["", ".", "back"]),
    wrapped=st.booleans(),
    save=st.sampled_from([save_zip, save_old]),
)
def test_the_same_keys_as_mmengine(
    mmengine: Any, names: list[str], prefix: str | None, wrapped: bool, save: Save
) -> None:
    content: Any = {name: torch.full((i + 1,), float(i)) for i, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "toy.pth")
        save({"state_dict": content} if wrapped else content, path)
        expected = chosen_by_mmengine(mmengine.runner.checkpoint, path, prefix)
        if expected is None:
            assert "has nothing under the prefix" in str(error(path, prefix=prefix))
        else:
            assert_same(values(open_checkpoint(path, prefix=prefix)), expected)


def chosen_by_mmengine(module: Any, path: pathlib.Path, prefix: str | None) -> dict[str, Tensor] | None:
    if prefix is not None:
        try:
            return dict(module._load_checkpoint_with_prefix(prefix, str(path)))
        except AssertionError:
            return None
    seen: dict[str, Tensor] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict", lambda model, state_dict, *_: seen.update(state_dict))
        module.load_checkpoint(torch.nn.Module(), str(path))
    return seen


# What is wrong with a location


def test_placeholders_take_turns() -> None:
    entered = threading.Event()

    def enter() -> None:
        with placeholders():
            entered.set()

    thread = threading.Thread(target=enter)
    with placeholders():
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(60)
    thread.join()


@pytest.mark.parametrize(
    "location",
    [
        "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "http://x/y.pth",
        "torchvision://resnet50",
        "open-mmlab://resnet50_caffe",
        "mmcls://vgg16",
        "s3://bucket/key.pth",
        "cluster:s3://bucket/key.pth",
        "file:///tmp/toy.pth",
    ],
)
def test_remote(location: str) -> None:
    text = str(error(location))
    assert repr(location) in text
    assert "remote schemes are not supported yet: download the file and give its path" in text


def test_missing_names_the_nearest_file(tmp_path: pathlib.Path) -> None:
    for name in ("resnet50.pth", "vgg16.pth"):
        (tmp_path / name).write_bytes(b"x")
    text = str(error(tmp_path / "resnet5O.pth"))
    assert "does not exist" in text
    assert text.endswith("Did you mean 'resnet50.pth'?")
    assert "Did you mean" not in str(error(tmp_path / "zzz"))
    assert isinstance(error(tmp_path / "zzz").__cause__, FileNotFoundError)


def test_missing_folder(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for folder in (tmp_path / "none", tmp_path / "file"):
        assert f"there is no folder {str(folder)!r}" in str(error(folder / "toy.pth"))


def test_directory_names_a_checkpoint_in_it(tmp_path: pathlib.Path) -> None:
    assert "is a directory: give the path of a file" in str(error(tmp_path))
    (tmp_path / "readme.md").write_bytes(b"x")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert "e.g. 'model.safetensors'" in str(error(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in str(error(tmp_path / "pipe"))


@pytest.mark.parametrize("location", [None, 3, b"toy.pth", {"state_dict": {}}])
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


# What is wrong with a file


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n  <!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"\xef\xbb\xbf<html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b'{"weight_map": {}}', "JSON"),
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
def test_foreign_content(content: bytes, says: str, name: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / name).write_bytes(content)
    if name.endswith(".safetensors") and content.startswith(b"PK"):
        says = "rename it to .pth"
    assert says in str(error(tmp_path / name))


@pytest.mark.parametrize("save", [save_zip, save_old, save_safetensors])
def test_truncated_anywhere(save: Save, path: pathlib.Path) -> None:
    save(state(), path)
    whole = path.read_bytes()
    lengths = [*range(1, len(whole), 41), *range(len(whole) - 9, len(whole))]
    assert len(lengths) > 15
    for length in lengths:
        path.write_bytes(whole[:length])
        caught = error(path)
        says = "' is (a )?truncated" if length >= 40 else "truncated"
        assert re.search(says, str(caught)), f"cut at {length} of {len(whole)}: {caught}"
    path.write_bytes(whole)
    assert len(open_checkpoint(path).shapes) == len(state())


def test_truncated_with_an_optimizer(path: pathlib.Path) -> None:
    save_old({"state_dict": {"a": torch.ones(2)}, "z": {"state": [torch.ones(500), torch.ones(500)]}}, path)
    path.write_bytes(path.read_bytes()[:-1])
    assert "is truncated, it should have" in str(error(path))


def test_a_suffix_that_lies(tmp_path: pathlib.Path) -> None:
    save_zip(state(), tmp_path / "toy.safetensors")
    assert "rename it to .pth" in str(error(tmp_path / "toy.safetensors"))


def test_archives_that_are_no_checkpoints(path: pathlib.Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    assert "is a zip archive, but not one of torch.save" in str(error(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toy/data.pkl", b"\x80\x02}.")
        archive.writestr("toy/constants.pkl", b"\x80\x02).")
    assert "TorchScript" in str(error(path))


def test_a_record_that_is_missing(path: pathlib.Path) -> None:
    save_zip({"a": torch.ones(2), "args": argparse.Namespace(lr=0.1)}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist() if not name.endswith("data/0")}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    assert "is truncated or damaged" in str(error(path))


@PICKLED
@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, [torch.ones(1)], torch.ones(1), {"a": 1}, 3, None])
def test_no_tensors(save: Save, content: object, path: pathlib.Path) -> None:
    save(content, path)
    assert "holds no tensors by name" in str(error(path))


def test_no_tensors_in_safetensors(path: pathlib.Path) -> None:
    save_safetensors({}, path)
    assert "holds no tensors" in str(error(path))


@PICKLED
def test_no_tensors_names_the_part_that_has_some(save: Save, path: pathlib.Path) -> None:
    save({"epoch": 3, "model": state()}, path)
    text = str(error(path))
    assert "'model' holds 6" in text
    assert "torch.save(torch.load(path)['model'], new_path)" in text


@FORMATS
def test_a_prefix_that_selects_nothing(save: Save, path: pathlib.Path) -> None:
    save(state(), path)
    text = str(error(path, prefix="backbon"))
    assert "has nothing under the prefix 'backbon'" in text
    assert all(repr(top) in text for top in ("backbone", "backbone_2", "head"))
    assert text.endswith("Did you mean 'backbone'?")
    for prefix in ("", ".", "conv.weight", "backbone.scale"):
        assert "has nothing under" in str(error(path, prefix=prefix))


def test_a_prefix_that_lies_deeper(path: pathlib.Path) -> None:
    save_zip({f"module.{key}": tensor for key, tensor in state().items()}, path)
    assert str(error(path, prefix="backbone")).endswith("Did you mean 'module.backbone'?")
    save_zip({f"layer{i}.weight": torch.ones(1) for i in range(50)}, path)
    text = str(error(path, prefix="zzz"))
    assert text.endswith("'layer7', ...")
    save_zip({"weight": torch.ones(1)}, path)
    assert "its names have no dots" in str(error(path, prefix="zzz"))


@pytest.mark.parametrize("prefix", [3, b"backbone", ["backbone"]])
def test_a_prefix_that_is_no_string(prefix: Any, path: pathlib.Path) -> None:
    save_zip(state(), path)
    assert "has a prefix that is no string" in str(error(path, prefix=prefix))


@pytest.mark.parametrize("device", ["gpu", "cuda:9999", "meta", 3, {"cuda:0": "cpu"}, lambda storage, _: storage])
def test_a_device_that_is_not_there(device: Any, path: pathlib.Path) -> None:
    save_zip(state(), path)
    text = str(error(path, map_location=device))
    assert text.endswith("give a device such as 'cpu' or 'cuda:0'")
    assert ("has a map_location that is no device" in text) is not isinstance(device, str)


def test_unknown_keys(path: pathlib.Path) -> None:
    save_zip(state(), path)
    checkpoint = open_checkpoint(path, prefix="backbone", origin="here")
    with pytest.raises(CheckpointError, match=r"\Ahere: .*no tensor 'conv.wieght'.*Did you mean 'conv.weight'"):
        checkpoint.tensors(["scale", "conv.wieght"])


def test_a_file_that_goes_while_it_is_read(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: object, **__: object) -> None:
        path.unlink()
        raise OSError("lost")

    save_zip(state(), path)
    monkeypatch.setattr(torch, "load", lose)
    assert "does not exist" in str(error(path))


@FORMATS
def test_a_file_that_has_changed(save: Save, path: pathlib.Path) -> None:
    save(state(), path)
    checkpoint = open_checkpoint(path, origin="here")
    save({**state(), "head.fc.weight": torch.ones(3, 4)}, path)
    with pytest.raises(CheckpointError, match=r"\Ahere: .*has changed since it was opened, at 'head.fc.weight'"):
        next(checkpoint.tensors(["backbone.scale", "head.fc.weight"]))
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(CheckpointError, match="truncated"):
        next(checkpoint.tensors(["backbone.scale"]))
    path.unlink()
    with pytest.raises(CheckpointError, match=r"\Ahere: .* does not exist"):
        next(checkpoint.tensors(["backbone.scale"]))


# What is hostile


class Runs:
    """Unpickled without care, it calls a function."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


class Trap:
    @property
    def sprung(self) -> float:
        return 1 / 0


def save_raw(protocol: int) -> Save:
    def save_protocol(content: object, path: pathlib.Path) -> None:
        path.write_bytes(pickle.dumps(content, protocol=protocol))

    return save_protocol


def save_zip_4(content: object, path: pathlib.Path) -> None:
    torch.save(content, path, pickle_protocol=4)


@pytest.mark.parametrize("save", [save_zip, save_zip_4, save_old, *map(save_raw, range(6))])
@pytest.mark.parametrize("function", [os.system, exec, subprocess.check_call], ids=["system", "exec", "call"])
@pytest.mark.parametrize("where", ["top", "weight", "beside"])
def test_hostile_pickles_are_refused_and_not_run(
    save: Save, function: Callable[..., object], where: str, tmp_path: pathlib.Path
) -> None:
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w').close()" if function is exec else f"touch {marker}"
    args: tuple[object, ...] = (["touch", str(marker)],) if function is subprocess.check_call else (code,)
    evil = Runs(function, *args)
    content = {
        "top": evil,
        "weight": {"state_dict": {"a": evil}},
        "beside": {"a": torch.ones(1), "b": [evil]},
    }
    path = tmp_path / "toy.pth"
    if where == "beside" and save not in (save_zip, save_zip_4, save_old):
        content[where] = {"b": [evil]}
    save(content[where], path)
    caught = error(path)
    assert not marker.exists()
    assert function.__name__ in str(caught)
    assert "was refused" in str(caught)
    assert "was not run" in str(caught)
    assert caught.__cause__ is not None


def test_the_hostile_pickle_would_have_run(tmp_path: pathlib.Path) -> None:
    torch.save(Runs(os.system, f"touch {tmp_path / 'ran'}"), tmp_path / "toy.pth")
    torch.load(tmp_path / "toy.pth", weights_only=False)
    assert (tmp_path / "ran").exists()


@PICKLED
def test_what_is_read_past_is_not_run(save: Save, path: pathlib.Path) -> None:
    # `getattr` is on the list, because OpenMMLab's files name it; what it is asked for does not happen.
    save({"a": torch.ones(2), "log": [Runs(getattr, Trap(), "sprung")]}, path)
    with torch.serialization.safe_globals([getattr, Trap]), pytest.raises(ZeroDivisionError):
        torch.load(path, weights_only=True)
    with torch.serialization.safe_globals([Trap]):
        assert list(open_checkpoint(path).shapes) == ["a"]


@PICKLED
def test_a_pickled_model_is_refused(save: Save, path: pathlib.Path) -> None:
    save(torch.nn.Linear(2, 2), path)
    text = str(error(path))
    assert "torch.nn.modules.linear.Linear" in text
    assert "torch.save(model.state_dict(), path)" in text


def test_a_protocol_that_cannot_be_read_safely(path: pathlib.Path) -> None:
    torch.save({"a": torch.ones(2)}, path, pickle_protocol=4)
    assert "is pickled with protocol 4, which cannot be read safely" in str(error(path))


def test_environment_cannot_unlock_pickles(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save(Runs(os.system, f"touch {tmp_path / 'ran'}"), tmp_path / "toy.pth")
    assert "was refused" in str(error(tmp_path / "toy.pth"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("missing", ["skip_data", "safe_globals"])
def test_older_releases_of_torch(missing: str, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.serialization, missing)
    save_old(state(), path)
    assert_same(values(open_checkpoint(path)), state())
    save_old({"a": torch.ones(2), "args": argparse.Namespace(lr=1)}, path)
    if missing == "safe_globals":
        assert "Namespace" in str(error(path))
    else:
        assert list(open_checkpoint(path).shapes) == ["a"]


def test_buffers_are_no_files() -> None:
    assert "is not a path" in str(error(io.BytesIO(b"x")))
