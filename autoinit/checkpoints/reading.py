"""Read a file by the library of its format, or say why it cannot be read."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby

from torch import Tensor

from ..errors import CheckpointError
from .contents import Contents, StoredTensor, state_in, tensors_in
from .safetensors_format import is_safetensors, looks_like_safetensors, read_safetensors
from .source import Source
from .torch_format import ZIP_MAGIC, is_mapped, load_values, pickle_protocol, read_pickle, read_torch

_MAPPED_AT_ONCE = 64 << 20  # Bytes to read of a file that is mapped whole, before it is mapped anew to free them.
_LARGEST_INDEX = 64 << 20  # Bytes: some 100 for each tensor.
_LONGEST_NAME = 256
_OLD_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
_SAVE_TENSORS = (
    "if you trust it, load it where it was made and save its tensors alone, "
    "with torch.save(model.state_dict(), path) or as .safetensors"
)
_FOREIGN = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    (b"<", "holds an HTML or XML page, not weights", "the download went wrong; download it again"),
    (b"{", "holds JSON, not weights", "give a file of weights, or the .index.json of a sharded checkpoint"),
    (b"\x1f\x8b", "is compressed with gzip", "decompress it and give the path of the result"),
    (b"\x89HDF", "is an HDF5 file", "convert it with torch.save or to .safetensors"),
)


def read_contents(source: Source, key: str | None) -> Contents:
    """Read names, shapes and dtypes; `key` is where in the file the state dict is, None for the usual place."""
    with _explained(source):
        return read_safetensors(source, key) if is_safetensors(source) else read_torch(source, key)


def check_whole(source: Source) -> None:
    """Raise CheckpointError if a file is not a checkpoint, or the index of one, from its beginning to its end."""
    with _explained(source):
        if is_index(source):
            read_index(source)
        elif is_safetensors(source):
            read_safetensors(source, None)
        else:
            read_pickle(source)


def read_tensors(wanted: Iterable[StoredTensor], key: str | None) -> Iterator[Tensor]:
    """Read the values of tensors, in their order; a file without their positions is read whole, once."""
    for _, group in groupby(wanted, key=lambda stored: stored.source.path):
        whole: dict[str, Tensor] = {}
        left = 0
        for stored in group:
            source = stored.source
            if stored.start is not None:
                source.require_unchanged()
                with _explained(source):
                    tensor = stored.map(stored.start)
            else:
                if left <= 0:
                    source.require_unchanged()
                    with _explained(source):
                        whole = tensors_in(state_in(load_values(source), key, source))
                        piles_up = is_mapped(source)
                    left = max(_MAPPED_AT_ONCE, source.size() // 64)
                if stored.name not in whole:
                    raise source.error(f"has changed since it was opened, at {stored.name!r}", "open it again")
                tensor = whole.pop(stored.name).detach()
                left -= tensor.numel() * tensor.element_size() if piles_up else 0
            yield tensor


def is_index(source: Source) -> bool:
    """Whether a file is JSON, which only the index of a sharded checkpoint may be."""
    return source.text_head().startswith(b"{") and not is_safetensors(source)


def read_index(source: Source) -> dict[str, str]:
    """The name of the shard that each tensor is in; an index must name files right beside it."""
    if source.size() > _LARGEST_INDEX:
        raise source.error("holds JSON, and too much of it for an index", "give a file of weights, or an index")
    try:
        with open(source.path, encoding="utf-8-sig") as file:
            content = json.load(file)
    except (ValueError, RecursionError) as e:
        raise source.error("holds JSON that is truncated or damaged") from e
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict):
        remedy = "give a file of weights, or the index of a sharded checkpoint, which has a 'weight_map'"
        raise source.error("holds JSON, not weights", remedy)
    for tensor, shard in shards.items():
        # A name that stays in its folder, on any system.
        if not isinstance(shard, str) or shard in ("", ".", "..") or set(shard) & {*"/\\:\0", os.sep}:
            what = f"is an index that puts {tensor!r} into {shard!r}, which is not the name of a file beside it"
            raise source.error(f"{what}, and was refused", "get the checkpoint from a source that you trust")
    if not shards:
        raise source.error("is an index of no tensors", "give the index of a checkpoint with weights")
    return shards


@contextmanager
def _explained(source: Source) -> Iterator[None]:
    """A context that turns any error of reading `source` into a CheckpointError that says why."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as e:  # Bytes that are not what they should be make torch and pickle raise anything.
        raise _reason(source, e) from e


def _reason(source: Source, error: Exception) -> CheckpointError:
    source.check()  # It may have gone since.
    refused = re.search(r"tried to allocate (\d+) bytes", str(error))
    is_memory = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    # A damaged file may ask for more memory than its size.
    if int(refused[1]) <= source.size() if refused else is_memory:
        return source.error("cannot be read, there is not enough memory for it", "free some, or load less of it")
    head = source.head()
    if is_safetensors(source):
        if looks_like_safetensors(head):
            return source.error("is a truncated or damaged safetensors file")
        if head.startswith(ZIP_MAGIC):
            return source.error("is no safetensors file but one of torch.save", "rename it to .pth")
    elif (protocol := pickle_protocol(source)) is not None:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named and not _ends_within(source, named[1]):
            what = f"was refused: its pickle names {named[1]!r}, which is not known to be safe and was not run"
            return source.error(what, _SAVE_TENSORS)
        if protocol > 2:
            what = f"is pickled with protocol {protocol}, which cannot be read safely, and was not run"
            return source.error(what, "save it again with the pickle_protocol that torch.save takes by itself")
    if head.startswith(b"PK") or _OLD_MAGIC in head[:32]:
        return source.error("is truncated or damaged")
    for magic, what, remedy in _FOREIGN:
        if source.text_head().startswith(magic):
            return source.error(what, remedy)
    what = "is neither a file of torch.save nor a safetensors file, or it is truncated or damaged"
    return source.error(what, f"check that it is the right file, or {source.again}")


def _ends_within(source: Source, name: str) -> bool:
    """Whether a file was cut off in the middle of the global that torch refused, so that torch names a part of it."""
    with open(source.path, "rb") as file:
        file.seek(max(source.size() - _LONGEST_NAME, 0))
        last_line = file.read().rpartition(b"\n")[2]
    attribute = name.rpartition(".")[2]
    return not attribute or last_line[:-1] == attribute.encode()
