"""Files of `torch.save`: the zip format of today, and the older stream that many published weights have."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any

import torch
from torch import Tensor

from .._torch import READS_OFFSETS, offset_in_checkpoint
from .contents import Contents, StoredTensor, state_in, tensors_in, versions_in
from .source import Source

ZIP_MAGIC = b"PK\x03\x04"
# An archive that unpacks to more than both, bytes and times its own size, holds no weights but a bomb.
_UNPACKED, _RATIO = 1 << 30, 100


def read_torch(source: Source, key: str | None) -> Contents:
    """Read names, shapes and dtypes of the state dict at `key`; a damaged, foreign or hostile file raises anything."""
    state = state_in(read_pickle(source), key, source)
    without_values = {name: tensor for name, tensor in tensors_in(state).items() if tensor.is_meta}
    starts: dict[str, int] = {}
    if without_values and is_zip(source):
        starts = _starts(without_values, source.path)
        if len(starts) < len(without_values):
            # Sparse, conjugated, saved without values, or in an archive that another program has written.
            state = state_in(load_values(source), key, source)
    tensors = {
        name: StoredTensor.of(source, name, tensor, starts.get(name))
        for name, tensor in tensors_in(state).items()
        if not tensor.is_nested and (name in starts or not tensor.is_meta)
    }
    if not tensors:
        raise source.error("holds no tensors by name", "give the path of a file that holds a state_dict")
    return Contents(tensors, versions_in(state))


def read_pickle(source: Source) -> Any:
    """Read the object that was saved, its tensors without values if the format allows; raises as `read_torch`."""
    if not is_zip(source):
        return _load_safely(lambda: _load_old_without_values(source))
    if READS_OFFSETS and sys.byteorder == "little" and _is_stored_plainly(source):
        with zipfile.ZipFile(source.path) as archive:
            orders = {archive.read(name) for name in archive.namelist() if name.rpartition("/")[2] == "byteorder"}
        # For a file of a machine of the other kind torch swaps bytes, also where there are none to swap, and crashes.
        if orders <= {b"little"}:
            with suppress(NotImplementedError):  # A quantized tensor, which the meta device does not have.
                return _load_safely(lambda: _load(source.path, map_location="meta"))
    return load_values(source)


def is_mapped(source: Source) -> bool:
    """Whether `load_values` leaves values in the file until they are looked at."""
    return is_zip(source) and _is_stored_plainly(source)


def is_zip(source: Source) -> bool:
    """Whether a file has the format since PyTorch 1.6."""
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


def _starts(tensors: Mapping[str, Tensor], path: str) -> dict[str, int]:
    """First byte in a zip file of each storage that can be mapped from it, by the name of its tensor."""
    sizes = {}  # Sizes of the records, by their first byte.
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        for record in archive.infolist():
            # The header before the contents ends with a name and extra fields, of these lengths.
            file.seek(record.header_offset + 26)
            name_length, extra = struct.unpack("<HH", file.read(4))
            sizes[record.header_offset + 30 + name_length + extra] = record.file_size
    found = {}
    for name, tensor in tensors.items():
        if tensor.layout == torch.strided and not (tensor.is_nested or tensor.is_conj() or tensor.is_neg()):
            # torch computes it from how it would have written the archive itself.
            start = offset_in_checkpoint(tensor.untyped_storage())
            if sizes.get(start, -1) >= tensor.untyped_storage().nbytes():
                found[name] = start
    return found


def _is_stored_plainly(source: Source) -> bool:
    """Whether the records of a zip file can be mapped, because they are not compressed."""
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
        raise source.error(what, "get the checkpoint from a source that you trust")
    return all(record.compress_type == zipfile.ZIP_STORED for record in records)


def load_values(source: Source) -> Any:
    """Read the object that was saved; raises as `read_torch`."""
    mmap = is_mapped(source)
    return _load_safely(lambda: _load(source.path, mmap=mmap))


def _load_old_without_values(source: Source) -> Any:
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


def _load(file: str | IO[bytes], *, map_location: Any = "cpu", mmap: bool = False) -> Any:
    return torch.load(file, map_location=map_location, weights_only=True, mmap=mmap)


def _load_safely(load: Callable[[], Any]) -> Any:
    """Load, and if torch refuses a global load again with placeholders."""
    try:
        return load()
    except pickle.UnpicklingError:
        pass  # Leaving the handler frees what was read before it is read again.
    with placeholders():
        return load()


class _Placeholder:
    """Replaces an object that is not a weight: accepts any arguments and keeps none of them."""

    def __init__(self, *ignored: object) -> None:
        pass

    __setstate__ = __init__


_HARMLESS = (
    "argparse.Namespace",
    "builtins.getattr",  # How protocol 2 names `HistoryBuffer.mean`; the placeholder gets no attribute.
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.logging.message_hub.MessageHub",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
)
# torch knows a class by the name that the class has.
_PLACEHOLDERS = [
    type(attribute, (_Placeholder,), {"__module__": module})
    for module, _, attribute in (name.rpartition(".") for name in _HARMLESS)
]
_lock = threading.Lock()


@contextmanager
def placeholders() -> Iterator[None]:
    """A context where `torch.load` makes placeholders of the few objects besides weights that checkpoints hold.

    OpenMMLab writes its training log into a checkpoint (history buffers, numpy arrays, bound methods), many scripts
    their command line, and `weights_only=True` refuses such files. To allow the real globals would import and run
    them. What the user allowed of these with `torch.serialization.add_safe_globals` is removed meanwhile: a real
    HistoryBuffer would keep placeholders, since it loads its methods into its class. torch's list is global to the
    process, so contexts of several threads run one after another.
    """
    with _lock:
        users = [allowed for allowed in torch.serialization.get_safe_globals() if _name(allowed) in _HARMLESS]
        with torch.serialization.safe_globals(users):
            pass  # Leaving the context takes its globals off the list.
        try:
            with torch.serialization.safe_globals([*_PLACEHOLDERS]):
                yield
        finally:
            torch.serialization.add_safe_globals(users)


def _name(allowed: Any) -> str:
    return allowed[1] if isinstance(allowed, tuple) else f"{allowed.__module__}.{allowed.__qualname__}"
