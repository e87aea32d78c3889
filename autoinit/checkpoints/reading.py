"""A file read by the library that its format belongs to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from torch import Tensor

from .explaining import explained
from .index_format import is_index, read_index
from .safetensors_format import is_safetensors, read_safetensors
from .source import Source
from .stored_tensors import Contents, StoredTensor, mapped
from .torch_format import is_mapped, read_pickle, read_torch, read_torch_values

_MAPPED_AT_ONCE = 64 << 20
"""Of a file that is mapped whole, so many bytes are read before it is mapped anew, which frees them."""


def read_contents(source: Source, key: str | None) -> Contents:
    """The names, shapes and dtypes in a file.

    Args:
        source: The file.
        key: Where in it the state dict is; None for the usual place.

    Raises:
        CheckpointError: It cannot be read, or holds no tensors there.
    """
    with explained(source):
        return read_safetensors(source, key) if is_safetensors(source) else read_torch(source, key)


def check_whole(source: Source) -> None:
    """Require a file to be a checkpoint, or the index of one, from its beginning to its end.

    Raises:
        CheckpointError: It is not.
    """
    with explained(source):
        if is_index(source):
            read_index(source)
        elif is_safetensors(source):
            read_safetensors(source, None)
        else:
            read_pickle(source)


def read_tensors(source: Source, key: str | None, wanted: deque[StoredTensor]) -> Iterator[Tensor]:
    """The values of some tensors of a file, in their order; each is taken from `wanted` before it is given.

    Raises:
        CheckpointError: They cannot be read.
    """
    while wanted:
        extent = wanted[0].extent
        if extent is None:
            # Each call reads the file once, and frees it when it ends.
            yield from _read_whole(source, key, wanted)
            continue
        with explained(source):
            tensor = mapped(wanted.popleft(), extent)
        yield tensor


def _read_whole(source: Source, key: str | None, wanted: deque[StoredTensor]) -> Iterator[Tensor]:
    with explained(source):
        tensors = read_torch_values(source, key)
        piles_up = is_mapped(source)
    left = max(_MAPPED_AT_ONCE, source.size() // 64)
    while wanted and wanted[0].extent is None and left > 0:
        name = wanted.popleft().name
        if name not in tensors:
            raise source.error(f"has changed since it was opened, at {name!r}", "open it again")
        tensor = tensors.pop(name).detach()
        left -= tensor.numel() * tensor.element_size() if piles_up else 0
        yield tensor
