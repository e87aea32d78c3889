"""Files with flipped bits, or with pieces lost or moved: an error that says so, or the right content; nothing else."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import event, given
from hypothesis import strategies as st
from torch import Tensor

from autoinit.checkpoints import open_checkpoint
from autoinit.errors import CheckpointError
from tests.checkpoint_files import Save, save_compressed, save_old, save_safetensors, save_zip

STATE = {
    "backbone.conv.weight": torch.arange(24.0).reshape(4, 3, 2),
    "backbone.conv.bias": torch.arange(4.0).to(torch.bfloat16),
    "head.fc.weight": torch.arange(8).reshape(2, 4),
}
SAVES: dict[str, Save] = {
    "zip": save_zip,
    "old": save_old,
    "safetensors": save_safetensors,
    "compressed": save_compressed,
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


@cache
def whole(form: str) -> bytes:
    with TemporaryDirectory() as name:
        path = Path(name, "whole")
        SAVES[form](STATE, path)
        return path.read_bytes()


def read(path: Path) -> dict[str, Tensor] | None:
    """All that is in a file; None if it was refused, in the one way in which files are."""
    try:
        checkpoint = open_checkpoint(path, origin="here")
        tensors = dict(checkpoint.tensors(checkpoint.shapes))
    except CheckpointError as e:
        refused = e
    else:
        assert {name: tensor.shape for name, tensor in tensors.items()} == dict(checkpoint.shapes)
        assert {name: tensor.dtype for name, tensor in tensors.items()} == dict(checkpoint.dtypes)
        return tensors
    assert str(refused).startswith(f"here: checkpoint '{path}'")
    assert refused.origin == "here"
    return None


def is_right(tensors: dict[str, Tensor]) -> bool:
    return tensors.keys() == STATE.keys() and all(torch.equal(tensors[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("form", SAVES)
@given(data=st.data())
def test_flipped_bits_and_pieces_in_another_order(form: str, folder: Path, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.integers(0, 8 * len(whole(form)) - 1), max_size=8, unique=True))
    damaged = bytearray(whole(form))
    for bit in bits:
        damaged[bit // 8] ^= 1 << bit % 8
    if not bits:
        at, other = data.draw(st.tuples(*[st.integers(0, len(damaged))] * 2).map(sorted))
        damaged = damaged[:at] + damaged[other:] + damaged[at:other]
    path = folder / f"flipped-{form}"
    path.write_bytes(damaged)
    tensors = read(path)
    # No format has a digest of its values, so a flipped bit of a value is another value. That is what sha256= is for.
    assert tensors is None or {type(tensor) for tensor in tensors.values()} <= {Tensor}
    event("refused" if tensors is None else "right" if is_right(tensors) else "other values or names")


def repack(path: Path, pickled: bytes, records: dict[str, bytes]) -> None:
    """Write an archive as torch does, with checksums that are right, and another pickle."""
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, content in records.items():
        content, name = pickled if name.endswith("data.pkl") else content, name.partition("/")[2]
        if name not in ("version", ".data/serialization_id"):  # which the writer adds
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()


def records_of(content: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The pickle and all records of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    return next(content for name, content in records.items() if name.endswith("data.pkl")), records


@given(data=st.data())
def test_flipped_bits_of_a_pickle_in_an_archive_that_is_right(folder: Path, data: st.DataObject) -> None:
    # An archive has checksums, which hide what is behind them from random damage, but not from someone who means it.
    pickled, records = records_of(whole("zip"))
    bits = data.draw(st.lists(st.integers(0, 8 * len(pickled) - 1), min_size=1, max_size=6, unique=True))
    damaged = bytearray(pickled)
    for bit in bits:
        damaged[bit // 8] ^= 1 << bit % 8
    repack(folder / "repacked", bytes(damaged), records)
    tensors = read(folder / "repacked")
    assert tensors is None or {type(tensor) for tensor in tensors.values()} <= {Tensor}


SHAPE, STRIDE, OFFSET = b"K\x03\x85", b"K\x01\x85", b"QK\x00"


@pytest.mark.parametrize(
    ("written", "lie"),
    [(SHAPE, b"K\x05\x85"), (STRIDE, b"K\x07\x85"), (OFFSET, b"QK\x02")],
    ids=["shape", "stride", "offset"],
)
def test_a_tensor_that_is_larger_than_its_record_is_refused_at_once(written: bytes, lie: bytes, path: Path) -> None:
    torch.save({"w": torch.ones(3)}, path)
    pickled, records = records_of(path.read_bytes())
    assert pickled.count(written) == 1
    repack(path, pickled.replace(written, lie), records)
    with pytest.raises(CheckpointError, match="is truncated or damaged"):
        open_checkpoint(path)


def test_a_record_that_ends_behind_its_file_is_refused_when_it_is_opened(path: Path) -> None:
    torch.save({"w": torch.ones(3)}, path)
    size = (12).to_bytes(4, "little") * 2
    content = path.read_bytes()
    at = content.rindex(size)  # In the directory at the file's end.
    path.write_bytes(content[:at] + (1 << 20).to_bytes(4, "little") * 2 + content[at + 8 :])
    with pytest.raises(CheckpointError):
        open_checkpoint(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([*STATE, "shard", "..", "/x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*STATE, "weight_map", "metadata"]), inner)
    ),
    max_leaves=12,
)


@given(content=st.dictionaries(st.sampled_from(["weight_map", "metadata", "x"]), JSON), cut=st.integers(0, 40))
def test_indexes(folder: Path, content: dict[str, object], cut: int) -> None:
    save_zip(STATE, folder / "shard")
    path = folder / "model.index.json"
    text = json.dumps(content)
    path.write_text(text[: len(text) - cut] if cut < len(text) else text)
    tensors = read(path)
    assert tensors is None or all(torch.equal(tensor, STATE[name]) for name, tensor in tensors.items())


@given(head=st.binary(max_size=64), tail=st.sampled_from([b"", bytes(100), b"{}" * 50]))
def test_anything_at_all(folder: Path, head: bytes, tail: bytes) -> None:
    for suffix in (".pth", ".safetensors", ".index.json"):
        path = folder / f"anything{suffix}"
        path.write_bytes(head + tail)
        assert read(path) is None
