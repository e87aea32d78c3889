"""Why a file could not be read, with a remedy."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import CheckpointError
from .safetensors_format import is_safetensors, looks_like_safetensors
from .source import Source
from .torch_format import ZIP_MAGIC, pickle_protocol

_OLD_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
_LONGEST_NAME = 256
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


@contextmanager
def explained(source: Source) -> Iterator[None]:
    """Turn whatever reading `source` raises into a CheckpointError that says why."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as e:  # bytes that are not what they should be make torch and pickle raise anything
        raise _error(source, e) from e


def _error(source: Source, error: Exception) -> CheckpointError:
    source.check()  # it may have gone since
    if _is_memory(error, source):
        return source.error("cannot be read, there is not enough memory for it", "free some, or load less of it")
    head = source.head()
    if is_safetensors(source):
        return _error_of_safetensors(source, head)
    return _error_of_pickle(source, error) or _error_of_bytes(source, head)


def _is_memory(error: Exception, source: Source) -> bool:
    """Whether memory was refused, and not more of it asked for than the file could fill."""
    if refused := re.search(r"tried to allocate (\d+) bytes", str(error)):
        return int(refused[1]) <= source.size()
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM


def _error_of_safetensors(source: Source, head: bytes) -> CheckpointError:
    if looks_like_safetensors(head):
        return source.error("is a truncated or damaged safetensors file")
    if head.startswith(ZIP_MAGIC):
        return source.error("is no safetensors file but one of torch.save", "rename it to .pth")
    return _error_of_bytes(source, head)


def _error_of_pickle(source: Source, error: Exception) -> CheckpointError | None:
    protocol = pickle_protocol(source)
    if protocol is None:
        return None
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused and not _ends_within(source, refused[1]):
        what = f"was refused: its pickle names {refused[1]!r}, which is not known to be safe and was not run"
        return source.error(what, _SAVE_TENSORS)
    if protocol > 2:
        what = f"is pickled with protocol {protocol}, which cannot be read safely, and was not run"
        return source.error(what, "save it again with the pickle_protocol that torch.save takes by itself")
    return None


def _ends_within(source: Source, name: str) -> bool:
    """Whether a file was cut off in the middle of the global that torch refused: torch takes a part for the name."""
    with open(source.path, "rb") as file:
        file.seek(max(source.size() - _LONGEST_NAME, 0))
        last_line = file.read().rpartition(b"\n")[2]
    attribute = name.rpartition(".")[2]
    return not attribute or last_line[:-1] == attribute.encode()


def _error_of_bytes(source: Source, head: bytes) -> CheckpointError:
    if head.startswith(b"PK") or _OLD_MAGIC in head[:32]:
        return source.error("is truncated or damaged")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, what, remedy in _FOREIGN:
        if start.startswith(magic):
            return source.error(what, remedy)
    what = "is neither a file of torch.save nor a safetensors file, or it is truncated or damaged"
    return source.error(what, f"check that it is the right file, or {source.again}")
