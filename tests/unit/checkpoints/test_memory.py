"""Opening reads no values, reading does not pile them up, and loading takes one tensor beside the model."""

from __future__ import annotations

import errno
import gc
import itertools
import json
import mmap
import os
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoinit import CheckpointError, initialize, plan
from autoinit.applying.module_code import WriteRecorder
from autoinit.checkpoints import open_checkpoint, torch_format
from benchmarks.resident import trim
from tests.checkpoint_files import SAVES, Save, save_old, save_safetensors, save_zip
from tests.processes import Interpreter


def mebibytes(key: str) -> float:
    """Resident memory, mapped pages included: `VmRSS` now, `VmHWM` at its peak."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        pytest.skip("no /proc/self/status")
    return int(re.findall(rf"{key}:\s+(\d+) kB", status)[0]) / 1024


@contextmanager
def memory_grows_by_less_than(limit: int) -> Iterator[None]:
    gc.collect()
    trim()  # Memory that was freed, and kept, would be taken again without a trace.
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    except OSError:
        pytest.skip("no /proc/self/clear_refs")
    before = mebibytes("VmRSS")
    yield
    grown = mebibytes("VmHWM") - before
    assert grown < limit, f"memory grew by {grown:.0f} MiB"


@pytest.fixture(scope="module")
def big_state() -> dict[str, Tensor]:
    return {f"layer{i}.weight": torch.full((1 << 20,), float(i)) for i in range(64)}  # 256 MiB


@SAVES
def test_shapes_read_no_values(save: Save, path: Path, big_state: dict[str, Tensor]) -> None:
    save(big_state, path)
    open_checkpoint(path)  # what torch imports and allocates only once
    with memory_grows_by_less_than(32):
        assert open_checkpoint(path).shapes["layer63.weight"] == (1 << 20,)


@pytest.mark.parametrize(("save", "has_offsets"), [(save_zip, True), (save_safetensors, True), (save_zip, False)])
def test_values_do_not_pile_up(
    save: Save, has_offsets: bool, path: Path, big_state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_offsets:  # Where torch does not say where in the file values are.
        monkeypatch.setattr(torch_format, "READS_OFFSETS", False)
    save(big_state, path)
    checkpoint = open_checkpoint(path)
    assert all((stored.start is not None) is has_offsets for stored in checkpoint.stored.values())
    with memory_grows_by_less_than(32 if has_offsets else 160):
        for i, (_, tensor) in enumerate(checkpoint.tensors(big_state)):
            assert float(tensor.sum()) == i * (1 << 20)
    assert i == 63


# 64 layers of 4 MiB each.
WIDTH, DEPTH = 1 << 10, 64


def layers(cls: type[nn.Module] = nn.Sequential) -> nn.Module:
    return cls(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH)))


class WithHook(nn.Sequential):
    """It looks at all names below it, and so is given all tensors at once."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__(*modules)
        self._register_load_state_dict_pre_hook(lambda state, prefix, *_: state.pop(f"{prefix}odd", None))


def save_shards(save: Save, extension: str) -> Save:
    def save_shards(content: Any, path: Path) -> None:
        path.mkdir()
        shard_of = {name: f"shard{number % 4}.{extension}" for number, name in enumerate(content)}
        for shard in set(shard_of.values()):
            save({name: content[name] for name in content if shard_of[name] == shard}, path / shard)
        (path / "weights.index.json").write_text(json.dumps({"weight_map": shard_of}))

    return save_shards


@pytest.mark.parametrize("cls", [nn.Sequential, WithHook])
@pytest.mark.parametrize(
    "save",
    [save_zip, save_safetensors, save_shards(save_zip, "bin"), save_shards(save_safetensors, "safetensors")],
    ids=["zip", "safetensors", "sharded bin", "sharded safetensors"],
)
def test_loading_takes_one_tensor_beside_the_model(save: Save, cls: type[nn.Module], path: Path) -> None:
    source = layers()
    save(source.state_dict(), path)
    model = layers(cls)
    rule = dict(type="Pretrained", checkpoint=str(path), strict=True)
    plan(model, rule)  # what is imported and allocated only once
    with WriteRecorder():  # which torch imports much for
        torch.zeros(1)
    # What loading code may do is not known beforehand, so that the values of before are kept in case it fails.
    saved = sum(param.nbytes for param in model.parameters()) >> 20 if cls is WithHook else 0
    with memory_grows_by_less_than(24 + saved):
        initialize(model, rule)
    assert all(map(torch.equal, source.parameters(), model.parameters()))


def test_the_measure_can_fail(path: Path) -> None:
    # A file of the format before PyTorch 1.6 is read whole: the one exception.
    save_old(layers().state_dict(), path)
    model = layers()
    with pytest.raises(AssertionError, match=r"memory grew by 2\d\d MiB"), memory_grows_by_less_than(200):
        initialize(model, dict(type="Pretrained", checkpoint=str(path)))


def test_values_of_an_old_file_are_let_go(path: Path) -> None:
    def alive() -> int:
        return sum(type(thing) is Tensor and thing.numel() == 12_347 for thing in gc.get_objects())

    save_old({str(i): torch.ones(12_347) for i in range(4)}, path)
    counts = [alive() for _ in open_checkpoint(path).tensors("0123")]
    assert [before - after for before, after in itertools.pairwise(counts)] == [1, 1, 1]


def test_one_tensor_of_a_file_that_is_larger_than_all_memory(path: Path) -> None:
    size = 1 << 40
    entries = {"huge": ([2, size // 8], [0, size]), "w": ([3], [size, size + 12])}
    header = {name: {"dtype": "F32", "shape": shape, "data_offsets": at} for name, (shape, at) in entries.items()}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        try:
            file.truncate(8 + len(text) + size)
            file.seek(0, os.SEEK_END)
        except OSError:
            pytest.skip("no sparse files here")
        file.write(struct.pack("<3f", 1.0, 2.0, 3.0))
    with memory_grows_by_less_than(32):
        checkpoint = open_checkpoint(path)
        assert checkpoint.shapes["huge"] == (2, size // 8)
        ((_, tensor),) = checkpoint.tensors(["w"])
        assert tensor.tolist() == [1.0, 2.0, 3.0]


def test_memory_that_is_not_there_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    save_zip({"w": torch.ones(3)}, path)
    checkpoint = open_checkpoint(path)
    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(CheckpointError, match="there is not enough memory for it: free some, or load less of it"):
        next(checkpoint.tensors(["w"]))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are those of Linux")
def test_memory_that_torch_is_refused_is_no_damage(path: Path, interpreter: Interpreter) -> None:
    save_old({"w": torch.ones(1 << 24)}, path)
    program = f"""
import resource
from autoinit import CheckpointError
from autoinit.checkpoints import open_checkpoint
checkpoint = open_checkpoint({str(path)!r})
held = 4096 * int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (held + (16 << 20),) * 2)
try:
    next(checkpoint.tensors(["w"]))
except CheckpointError as error:
    print(error)
"""
    assert "there is not enough memory for it: free some, or load less of it" in interpreter.check(program)
