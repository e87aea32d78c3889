"""Opening reads no values, and reading does not pile them up."""

from __future__ import annotations

import gc
import itertools
import json
import pathlib
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from autoinit.checkpoints import open_checkpoint

from .checkpoint_files import (
    Save,
    save_old,
    save_safetensors,
    save_zip,
)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "toy.pth"


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
