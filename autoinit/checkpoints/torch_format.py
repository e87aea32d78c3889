"""Files of `torch.save`: the zip format of today, and the older stream that many published weights have."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, Any

import torch
from torch import Tensor

from .contents import ZIP_MAGIC
from .entries import Entries, Entry
from .placeholders import placeholders
from .source import Source


def read_torch(source: Source, *, values: bool) -> Entries:
    """Read a file of `torch.save`.

    Args:
        source: the file.
        values: False if only shapes are needed. A zip file is mapped and costs nothing either way; of an old
            file the values are then skipped, instead of all being read.

    Raises:
        CheckpointError: the file is truncated, damaged, foreign or hostile, or holds no tensors.
    """
    mapped = False
    if source.head().startswith(ZIP_MAGIC):
        mapped = _is_stored_plainly(source)
        content = _safely(lambda: _load(source.path, mmap=mapped))
    elif values or not hasattr(torch.serialization, "skip_data"):
        content = _safely(lambda: _load(source.path))
    else:
        content = _safely(lambda: _skeleton(source))
    entries = {name: Entry(shape=value.shape, read=value.detach) for name, value in _state_of(content)}
    if not entries:
        raise source.error(*_without_tensors(content))
    return Entries(by_name=entries, mapped=mapped)


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
    return all(record.compress_type == zipfile.ZIP_STORED for record in records)


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
            raise source.error(f"is truncated, it should have {expected} bytes", "download or copy it again")
    return content


def _state_of(content: object) -> list[tuple[str, Tensor]]:
    state = content
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        state = content["state_dict"]
    return _tensors_in(state)


def _tensors_in(state: object) -> list[tuple[str, Tensor]]:
    """The tensors that have values; counters, `_extra_state` and the like are not ours to load."""
    items = state.items() if isinstance(state, Mapping) else ()
    return [
        (key, value) for key, value in items if isinstance(key, str) and isinstance(value, Tensor) and not value.is_meta
    ]


def _without_tensors(content: object) -> tuple[str, str]:
    items = content.items() if isinstance(content, Mapping) else ()
    for key, value in items:
        if found := _tensors_in(value):
            what = f"holds no tensors by name, at its top or under 'state_dict'; {key!r} holds {len(found)}"
            return what, f"save that part by itself: torch.save(torch.load(path)[{key!r}], new_path)"
    return "holds no tensors by name", "give the path of a file that holds a state_dict"
