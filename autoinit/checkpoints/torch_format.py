"""Files of `torch.save`: the zip format of today, and the older stream that many published weights have."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any

import torch
from torch import Tensor

from .placeholders import placeholders
from .source import Source
from .state_dicts import state_in, tensors_in, versions_in
from .stored_tensors import Contents, Extent, StoredTensor

ZIP_MAGIC = b"PK\x03\x04"

_TELLS_OFFSETS = hasattr(torch.serialization, "_is_meta_location")
"""Whether this torch, told to load to the meta device, reads no values and notes where they lie."""

_UNPACKED = 1 << 30
_RATIO = 100
"""An archive that unpacks to more than both, bytes and times its own size, holds no weights but a bomb."""


def read_torch(source: Source, key: str | None) -> Contents:
    """Read names, shapes and dtypes of a file of `torch.save`, and values only if its format leaves no choice.

    Args:
        source: The file.
        key: Where in it the state dict is, see `state_in`.

    Raises:
        CheckpointError: The file is an archive of another kind, or holds no tensors there.
        Exception: Whatever torch raises for a file that is truncated, damaged, foreign or hostile.
    """
    state = state_in(read_pickle(source), key, source)
    without_values = {name: tensor for name, tensor in tensors_in(state).items() if tensor.is_meta}
    if not without_values or not is_zip(source):
        return _contents(source, state, {})
    records = _record_sizes(source.path)
    extents = {name: extent for name, tensor in without_values.items() if (extent := _extent(tensor, records))}
    if len(extents) < len(without_values):
        # Sparse, conjugated, saved without values, or in an archive that another program has written.
        state = state_in(_load_values(source), key, source)
    return _contents(source, state, extents)


def read_torch_values(source: Source, key: str | None) -> dict[str, Tensor]:
    """Read all tensors: mapped if the file is a zip file whose records can be, otherwise into memory.

    Raises:
        CheckpointError, Exception: As `read_torch`.
    """
    return tensors_in(state_in(_load_values(source), key, source))


def read_pickle(source: Source) -> Any:
    """The object that was saved, its tensors without values if the format allows; the file is whole.

    Raises:
        CheckpointError, Exception: As `read_torch`.
    """
    if not is_zip(source):
        return _safely(lambda: _skeleton(source))
    if _has_offsets(source):
        with suppress(NotImplementedError):  # A quantized tensor, which the meta device does not have.
            return _safely(lambda: _load(source.path, map_location="meta"))
    return _load_values(source)


def is_mapped(source: Source) -> bool:
    """Whether `read_torch_values` leaves values in the file until they are looked at."""
    return is_zip(source) and _is_stored_plainly(source)


def is_zip(source: Source) -> bool:
    """Whether it is of the format since PyTorch 1.6."""
    return source.head().startswith(ZIP_MAGIC)


def pickle_protocol(source: Source) -> int | None:
    """The protocol of the pickle in a file; None if the file does not begin as one of `torch.save` does."""
    try:
        start = source.head()[:2]
        if is_zip(source):
            with zipfile.ZipFile(source.path) as archive:
                (record,) = (name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
                start = archive.open(record).read(2)
    except Exception:  # A damaged archive makes zipfile raise anything.
        return None
    return start[1] if start[:1] == pickle.PROTO and len(start) == 2 else None


def _contents(source: Source, state: Mapping[Any, object], extents: Mapping[str, Extent]) -> Contents:
    size = source.size()
    tensors = {
        name: StoredTensor(source=source, name=name, shape=tensor.shape, dtype=tensor.dtype, extent=extents.get(name))
        for name, tensor in tensors_in(state).items()
        if not tensor.is_nested and (name in extents or not tensor.is_meta)
    }
    for name, tensor in tensors.items():
        if tensor.extent is not None and not tensor.extent.fits(tensor.shape, tensor.dtype, size):
            raise source.error(f"is truncated or damaged: the values of {name!r} are not where it says")
    if not tensors:
        raise source.error("holds no tensors by name", "give the path of a file that holds a state_dict")
    return Contents(tensors=tensors, versions=versions_in(state))


def _extent(tensor: Tensor, records: Mapping[int, int]) -> Extent | None:
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_conj() or tensor.is_neg():
        return None
    storage = tensor.untyped_storage()
    start = storage._checkpoint_offset
    # torch computes it from how it would have written the archive itself.
    if start is None or records.get(start, -1) < storage.nbytes():
        return None
    return Extent(start=start, nbytes=storage.nbytes(), offset=int(tensor.storage_offset()), stride=tensor.stride())


def _record_sizes(path: str) -> dict[int, int]:
    """Where the contents of each record of a zip file begin, and how long they are."""
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        sizes = {}
        for record in archive.infolist():
            # The header before the contents ends with a name and extra fields, of these lengths.
            file.seek(record.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
            sizes[record.header_offset + 30 + name + extra] = record.file_size
    return sizes


def _load_values(source: Source) -> Any:
    mmap = is_mapped(source)
    return _safely(lambda: _load(source.path, mmap=mmap))


def _safely(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except pickle.UnpicklingError:
        pass  # What was read so far is freed before it is read again.
    with placeholders():
        return load()


def _load(file: str | IO[bytes], *, map_location: Any = "cpu", mmap: bool = False) -> Any:
    return torch.load(file, map_location=map_location, weights_only=True, mmap=mmap)


def _is_stored_plainly(source: Source) -> bool:
    """Whether the records of a zip file can be mapped: not if someone has compressed them."""
    with zipfile.ZipFile(source.path) as archive:
        records = archive.infolist()
    names = {record.filename.rpartition("/")[2] for record in records}
    if "constants.pkl" in names:
        remedy = "load it with torch.jit.load and save its state_dict() with torch.save"
        raise source.error("is a TorchScript archive, not a checkpoint", remedy)
    if "data.pkl" not in names:
        raise source.error("is a zip archive, but not one of torch.save", "give the path of a checkpoint")
    unpacked = sum(record.file_size for record in records)
    if unpacked > max(_UNPACKED, _RATIO * source.size()):
        what = f"is a zip archive of {source.size():,} bytes that unpacks to {unpacked:,}, and was refused"
        raise source.error(what, "get the checkpoint from somebody that you trust")
    return all(record.compress_type == zipfile.ZIP_STORED for record in records)


def _has_offsets(source: Source) -> bool:
    """Whether the values in a zip file can be mapped from where torch says that they lie, as they are."""
    if not _TELLS_OFFSETS or not _is_stored_plainly(source):
        return False
    with zipfile.ZipFile(source.path) as archive:
        orders = [record for record in archive.infolist() if record.filename.rpartition("/")[2] == "byteorder"]
        # For a file of a machine of the other kind torch swaps bytes, also where there are none to swap, and crashes.
        return {archive.read(record) for record in orders} <= {sys.byteorder.encode()} and sys.byteorder == "little"


def _skeleton(source: Source) -> Any:
    """The object in an old file, with storages whose memory is reserved but never touched."""
    sizes: list[int] = []

    def note_size(storage: Any, location: str) -> Any:
        sizes.append(storage.nbytes())
        return storage

    with open(source.path, "rb") as file, torch.serialization.skip_data():
        content = _load(file, map_location=note_size)
        # After the pickles comes, for each storage, its length in 8 bytes and its values.
        expected = file.tell() + sum(8 + size for size in sizes)
        if os.fstat(file.fileno()).st_size < expected:
            raise source.error(f"is truncated, it should have {expected} bytes")
    return content
