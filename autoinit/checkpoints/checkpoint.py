"""A checkpoint that was opened: names, shapes and dtypes; values one at a time, when asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, nearest
from .files import Entry, Source, Stamp, read_tensors
from .location import Location
from .selection import Selection


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file of a checkpoint: the only one, or a shard.

    Args:
        source: the file.
        stamp: what it was when it was opened.
    """

    source: Source
    stamp: Stamp

    def check(self) -> None:
        """Require the file to be what it was.

        Raises:
            CheckpointError: it is gone, or was written again.
        """
        with suppress(OSError):
            if self.source.stamp() == self.stamp:
                return
        self.source.check()
        raise self.source.error("has changed since it was opened", "open it again")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor of a checkpoint: the part that it is in, and what it is called and looks like there."""

    part: int
    name: str
    entry: Entry


@dataclass(frozen=True, kw_only=True, repr=False)
class Checkpoint:
    """Names, shapes and dtypes of the tensors of a file or a set of shards, or of what was selected of them.

    Made by `open_checkpoint`. Holds no values and no open file; equal if location, key and selection are.

    Args:
        place: what the user wrote.
        key: where in the file the state dict is; None for the usual place.
        selection: what is taken of the names in it.
        parts: the files.
        stored: the tensors by name; not to be changed.
        versions: what was noted of each module beside its tensors, by the module's name.
        device: where tensors are read to.
    """

    place: Location
    key: str | None
    selection: Selection
    parts: tuple[Part, ...] = field(compare=False)
    stored: Mapping[str, Stored] = field(compare=False)
    versions: Mapping[str, dict[str, Any]] = field(compare=False)
    device: torch.device = field(compare=False)

    @property
    def location(self) -> str:
        """The path, URL or name as the user wrote it."""
        return self.place.text

    @property
    def prefix(self) -> str | None:
        """With its dot; None for all."""
        return self.selection.prefix

    @cached_property
    def shapes(self) -> Mapping[str, torch.Size]:
        """By name, without the prefix."""
        return {name: stored.entry.shape for name, stored in self.stored.items()}

    @cached_property
    def dtypes(self) -> Mapping[str, torch.dtype]:
        """By name, without the prefix."""
        return {name: stored.entry.dtype for name, stored in self.stored.items()}

    def __repr__(self) -> str:
        prefix = f", prefix={self.prefix!r}" if self.prefix is not None else ""
        return f"Checkpoint({self.location!r}{prefix}, {len(self.stored)} tensors)"

    def error(self, what: str, remedy: str) -> CheckpointError:
        """What every error about this checkpoint looks like."""
        return self.place.error(what, remedy)

    def tensors(self, keys: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Read some tensors, one at a time, each once: drop one before taking the next to save memory.

        A file of the format before PyTorch 1.6, or one that was compressed, is read whole; of others, only what is
        asked for.

        Args:
            keys: names from `shapes`.

        Raises:
            CheckpointError: a name is not in `shapes`, or a file is not what it was when it was opened.
        """
        wanted = deque(dict.fromkeys(keys))
        for key in wanted:
            if key not in self.stored:
                guess = nearest(key, self.stored)
                raise self.error(f"has no tensor {key!r}", f"ask for names of `shapes`.{guess}")
        return self._stream(wanted)

    def _stream(self, wanted: deque[str]) -> Iterator[tuple[str, Tensor]]:
        while wanted:
            names, number = [], self.stored[wanted[0]].part
            while wanted and self.stored[wanted[0]].part == number:
                names.append(wanted.popleft())
            part = self.parts[number]
            part.check()
            queue = deque((self.stored[name].name, self.stored[name].entry) for name in names)
            tensors = read_tensors(part.source, self.key, queue)
            for name in names:
                if self.stored[name].entry.extent is not None:  # It is read from the file only now.
                    part.check()
                yield name, next(tensors).to(self.device)
