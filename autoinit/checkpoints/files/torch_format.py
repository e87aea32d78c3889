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

from .entries import Contents, Entry, Extent
from .nested import state_in, tensors_in, versions_in
from .placeholders import placeholders
from .source import Source

ZIP_MAGIC = b"PK\x03\x04"

_TELLS_OFFSETS = hasattr(torch.serialization, "_is_meta_location")
"""Whether this torch, told to load to the meta device, reads no values and notes where they lie."""

_UNPACKED = 1 << 30
_RATIO = 100
"""An archive that unpacks to more than both, bytes and times its own size, holds no weights but a bomb."""


def read_torch(source: Source, key: str | None) -> Contents:
    """Read names, shapes and dtypes of a file of `torch.save`, and no more of its values than its format forces one to.

    Args:
        source: the file.
        key: where in it the state dict is, see `state_in`.

    Raises:
        CheckpointError: the file is an archive of another kind, or holds no tensors there.
        Exception: whatever torch raises for a file that is truncated, damaged, foreign or hostile.
    """
    if not is_zip(source):
        skips = hasattr(torch.serialization, "skip_data")
        state = state_in(_safely(lambda: _skeleton(source)) if skips else _load_values(source), key, source)
        return _contents(source, state, {})
    if not _has_offsets(source):
        return _contents(source, state_in(_load_values(source), key, source), {})
    try:
        state = state_in(_safely(lambda: _load(source.path, map_location="meta")), key, source)
    except NotImplementedError:  # a quantized tensor, of which there is no shape alone
        return _contents(source, state_in(_load_values(source), key, source), {})
    records = _record_sizes(source.path)
    extents = {name: extent for name, tensor in tensors_in(state).items() if (extent := _extent(tensor, records))}
    if len(extents) < len(tensors_in(state)):
        # Sparse, conjugated, saved without values, or in an archive that another program has written.
        state = state_in(_load_values(source), key, source)
    return _contents(source, state, extents)


def read_torch_values(source: Source, key: str | None) -> dict[str, Tensor]:
    """Read all tensors: mapped if the file is a zip file whose records can be, otherwise into memory.

    Raises:
        CheckpointError, Exception: as `read_torch`.
    """
    return tensors_in(state_in(_load_values(source), key, source))


def check_torch(source: Source) -> None:
    """Require a file of `torch.save` to be whole, whatever it holds.

    Raises:
        CheckpointError, Exception: as `read_torch`.
    """
    if not is_zip(source):
        skips = hasattr(torch.serialization, "skip_data")
        _safely((lambda: _skeleton(source)) if skips else (lambda: _load(source.path)))
    elif _has_offsets(source):
        with suppress(NotImplementedError):  # See `read_torch`.
            _safely(lambda: _load(source.path, map_location="meta"))
    else:
        _load_values(source)


def is_mapped(source: Source) -> bool:
    """Whether `read_torch_values` leaves values in the file until they are looked at."""
    return is_zip(source) and _is_stored_plainly(source)


def is_zip(source: Source) -> bool:
    """Whether it is of the format since PyTorch 1.6."""
    return source.head().startswith(ZIP_MAGIC)


def _contents(source: Source, state: Mapping[Any, object], extents: Mapping[str, Extent]) -> Contents:
    size = source.size()
    entries = {
        name: Entry(shape=tensor.shape, dtype=tensor.dtype, extent=extents.get(name))
        for name, tensor in tensors_in(state).items()
        if not tensor.is_nested and (name in extents or not tensor.is_meta)
    }
    for name, entry in entries.items():
        if entry.extent is not None and not entry.extent.fits(entry.shape, entry.dtype, size):
            raise source.error(f"is truncated or damaged: the values of {name!r} are not where it says")
    if not entries:
        raise source.error("holds no tensors by name", "give the path of a file that holds a state_dict")
    return Contents(entries=entries, versions=versions_in(state))


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
        if not hasattr(torch.serialization, "safe_globals"):
            raise
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
