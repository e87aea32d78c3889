"""The tensors of a checkpoint file, without their values, and the state dict in a pickled object."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import nearest
from .source import Source

_NOTHING = object()


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor of a file, without its values."""

    source: Source
    name: str
    shape: torch.Size
    dtype: torch.dtype
    start: int | None = None  # First byte of its storage in the file; None if only torch can read its values.
    nbytes: int = 0  # Size of its storage, which other tensors may share.
    offset: int = 0  # Its first element in its storage.
    stride: tuple[int, ...] = ()

    @classmethod
    def of(cls, source: Source, name: str, tensor: Tensor, start: int | None) -> StoredTensor:
        """Describe a tensor whose storage begins at the byte `start` of the file."""
        known: dict[str, Any] = dict(source=source, name=name, shape=tensor.shape, dtype=tensor.dtype)
        if start is not None:
            nbytes, offset = tensor.untyped_storage().nbytes(), int(tensor.storage_offset())
            known.update(start=start, nbytes=nbytes, offset=offset, stride=tensor.stride())
        return cls(**known)

    def map(self, start: int) -> Tensor:
        """A tensor whose values are read from the file when they are looked at, and freed with the tensor.

        Each call maps only the storage of one tensor. The pages of a mapping count as memory of the process from when
        they are first looked at until it ends, so a mapping that all tensors shared would grow to the size of the
        file; and the system refuses a mapping that is larger than its memory.
        """
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self.dtype, device="cpu")
        before = start % mmap.ALLOCATIONGRANULARITY
        with open(self.source.path, "rb") as file:
            # A copy is private: writing to the tensor does not write to the file.
            mapping = mmap.mmap(file.fileno(), before + self.nbytes, access=mmap.ACCESS_COPY, offset=start - before)
        storage = torch.frombuffer(mapping, dtype=torch.uint8, count=self.nbytes, offset=before).untyped_storage()
        return torch.empty(0, dtype=self.dtype, device="cpu").set_(storage, self.offset, self.shape, self.stride)


class Contents(NamedTuple):
    """Tensors by name, and metadata of each module (its version) by the module's name."""

    tensors: Mapping[str, StoredTensor]
    versions: Mapping[str, dict[str, Any]]


def state_in(content: object, key: str | None, source: Source) -> Mapping[Any, object]:
    """The mapping from names to tensors at a key, which may have dots; without one, at a usual or the only place."""
    # The first two are the original's.
    places = (_below(content, "state_dict"), content, _below(content, "model")) if key is None else ()
    for state in places if key is None else (_below(content, key),):
        if isinstance(state, Mapping) and tensors_in(state):
            return state
    candidates = dict(_candidates(content))
    listed = ", ".join(f"{path!r} ({count})" for path, count in candidates.items())
    what, remedy = "holds no tensors by name", "give the path of a file that holds a state_dict"
    if key is not None:
        what = f"holds {'nothing' if state is _NOTHING else 'no tensors by name'} under the key {key!r}"
        if isinstance(content, Mapping) and tensors_in(content):
            remedy = "leave key= out, its tensors are at the top"
        elif candidates:
            remedy = f"give one that holds tensors: {listed}.{nearest(key, candidates)}".rstrip(".")
    elif len(candidates) == 1:
        found: Mapping[Any, object] = _below(content, next(iter(candidates)))
        return found
    elif candidates:
        what = f"holds tensors in {len(candidates)} places: {listed}"
        remedy = f"say which with key=, e.g. key={next(iter(candidates))!r}"
    raise source.error(what, remedy)


def tensors_in(state: Mapping[Any, object]) -> dict[str, Tensor]:
    """The tensors with a name; counters, `_extra_state` and the like are not loaded."""
    return {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}


def versions_in(state: Mapping[Any, object]) -> dict[str, dict[str, Any]]:
    """Metadata of each module that `state_dict()` adds to the tensors: its version, for its own loading code."""
    noted = getattr(state, "_metadata", None)
    items = noted.items() if isinstance(noted, Mapping) else ()
    # `load_state_dict(assign=True)` leaves a flag in a state dict that makes modules take tensors, not their values.
    return {
        name: {key: value for key, value in about.items() if key != "assign_to_params_buffers"}
        for name, about in items
        if isinstance(name, str) and isinstance(about, Mapping)
    }


def _below(content: object, key: str) -> Any:
    """The value at a key; a key with dots is first taken as a name, then as a path."""
    if not isinstance(content, Mapping):
        return _NOTHING
    if key in content:
        return content[key]
    for at, letter in enumerate(key):
        if letter == "." and key[:at] in content:
            found = _below(content[key[:at]], key[at + 1 :])
            if found is not _NOTHING:
                return found
    return _NOTHING


def _candidates(content: object, depth: int = 2) -> Iterator[tuple[str, int]]:
    """Paths to mappings that hold tensors by name, and how many. The states of optimizers are deeper."""
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(name, str) and isinstance(value, Mapping):
            if count := len(tensors_in(value)):
                yield name, count
            if depth > 1:
                yield from ((f"{name}.{path}", count) for path, count in _candidates(value, depth - 1))
