"""A checkpoint that was opened: names and shapes; values one at a time, when asked."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import nearest
from .contents import explained, is_safetensors
from .entries import Entries
from .safetensors_format import read_safetensors
from .selection import hint_for_prefix, normalized_prefix, select
from .source import Source, locate
from .torch_format import read_torch

_MAPPED_AT_ONCE = 64 << 20
"""Pages read from a mapped file count as the process's memory, so it is unmapped every so many bytes."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Checkpoint:
    """Names and shapes of the tensors of one file, or of its part under a prefix.

    Made by `open_checkpoint`. Holds no values and no open file; equal if location and prefix are.

    Args:
        source: the file.
        prefix: with its dot, or None for the whole file.
        shapes: by name, without the prefix; not to be changed.
        device: where tensors are read to.
    """

    source: Source
    prefix: str | None
    shapes: Mapping[str, torch.Size] = field(compare=False)
    device: torch.device = field(compare=False)

    @property
    def location(self) -> str:
        """The path as the user wrote it."""
        return self.source.location

    def __repr__(self) -> str:
        prefix = f", prefix={self.prefix!r}" if self.prefix is not None else ""
        return f"Checkpoint({self.location!r}{prefix}, {len(self.shapes)} tensors)"

    def tensors(self, keys: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Read some tensors, one at a time, each once: drop one before taking the next to save memory.

        A file of the format before PyTorch 1.6 is read whole; of others, only what is asked for.

        Args:
            keys: names from `shapes`.

        Raises:
            CheckpointError: a name is not in `shapes`, or the file is not what it was when it was opened.
        """
        wanted = deque(dict.fromkeys(keys))
        for key in wanted:
            if key not in self.shapes:
                guess = nearest(key, self.shapes)
                raise self.source.error(f"has no tensor {key!r}", f"ask for names of `shapes`.{guess}")
        return self._stream(wanted)

    def _stream(self, wanted: deque[str]) -> Iterator[tuple[str, Tensor]]:
        while wanted:
            # Each call opens the file once, and has let go of it when it ends.
            yield from self._some_of(wanted)

    def _some_of(self, wanted: deque[str]) -> Iterator[tuple[str, Tensor]]:
        entries = _read(self.source, values=True)
        named, mapped = select(entries.by_name, self.prefix), entries.mapped
        del entries  # what is popped below is to be the last reference
        for key in wanted:
            if key not in named or named[key].shape != self.shapes[key]:
                raise self.source.error(f"has changed since it was opened, at {key!r}", "open it again")
        left = max(_MAPPED_AT_ONCE, self.source.size() // 64)
        while wanted and left > 0:
            key = wanted.popleft()
            with explained(self.source):
                tensor = named.pop(key).read()
            left -= tensor.numel() * tensor.element_size() if mapped else 0
            yield key, tensor.to(self.device)


def open_checkpoint(
    location: str | os.PathLike[str],
    *,
    prefix: str | None = None,
    map_location: str | torch.device | None = "cpu",
    origin: str | None = None,
) -> Checkpoint:
    """Open a file of `torch.save` or safetensors: read names and shapes, and check all that can be checked.

    Args:
        location: a local path; `~` is expanded. A remote scheme is an error for now.
        prefix: take only the part under this name; a dot is added if absent.
        map_location: the device that tensors are read to; None means the CPU.
        origin: where the location was written, e.g. `init_cfg[0]`, for errors.

    Raises:
        CheckpointError: the file is missing, empty, truncated, foreign or hostile, it holds no tensors,
            nothing is under the prefix, or there is no such device.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(
        ...         {"state_dict": {"module.fc.weight": torch.ones(2, 3)}}, folder + "/toy.pth"
        ...     )
        ...     checkpoint = open_checkpoint(folder + "/toy.pth")
        ...     print(checkpoint.shapes)
        ...     for name, tensor in checkpoint.tensors(["fc.weight"]):
        ...         print(name, tensor.sum())
        {'fc.weight': torch.Size([2, 3])}
        fc.weight tensor(6.)
    """
    source = locate(location, origin=origin)
    device = _device(map_location, source=source)
    dotted = normalized_prefix(prefix, source=source)
    entries = _read(source, values=False).by_name
    selected = select(entries, dotted)
    if dotted is not None and not selected:
        raise source.error(f"has nothing under the prefix {prefix!r}", hint_for_prefix(dotted, entries))
    shapes = {name: entry.shape for name, entry in selected.items()}
    return Checkpoint(source=source, prefix=dotted, shapes=shapes, device=device)


def _read(source: Source, *, values: bool) -> Entries:
    with explained(source):
        if is_safetensors(source):
            return read_safetensors(source)
        return read_torch(source, values=values)


def _device(map_location: object, *, source: Source) -> torch.device:
    remedy = "give a device such as 'cpu' or 'cuda:0'"
    if map_location is None:
        return torch.device("cpu")
    if not isinstance(map_location, (str, torch.device)):
        raise source.error(f"has a map_location that is no device: {map_location!r}", remedy)
    try:
        device = torch.device(map_location)
        torch.empty(0, device=device)
    except Exception as e:  # each backend has its own way to say that it is not there
        raise source.error(f"cannot be read to {str(map_location)!r}", remedy) from e
    if device.type == "meta":
        raise source.error("cannot be read to 'meta', which holds no values", remedy)
    return device
