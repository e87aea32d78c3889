"""A checkpoint that was opened: names, shapes and dtypes; values one at a time, when asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from ..errors import nearest
from .location import Location
from .reading import read_tensors
from .selection import Selection
from .stored_tensors import StoredTensor


@dataclass(frozen=True, kw_only=True, repr=False)
class Checkpoint:
    """Names, shapes and dtypes of the selected tensors of a file or a set of shards.

    Made by `open_checkpoint`. Holds no values and no open file; equal if location, key and selection are.

    Args:
        place: What the user wrote.
        key: Where in the file the state dict is; None for the usual place.
        selection: Which of the file's names are taken.
        stored: The tensors by name; not to be changed.
        versions: Metadata of each module (its version), by the module's name.
        device: Device that tensors are read to.
    """

    place: Location
    key: str | None
    selection: Selection
    stored: Mapping[str, StoredTensor] = field(compare=False)
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
        return {name: tensor.shape for name, tensor in self.stored.items()}

    @cached_property
    def dtypes(self) -> Mapping[str, torch.dtype]:
        """By name, without the prefix."""
        return {name: tensor.dtype for name, tensor in self.stored.items()}

    def __repr__(self) -> str:
        prefix = f", prefix={self.prefix!r}" if self.prefix is not None else ""
        return f"Checkpoint({self.location!r}{prefix}, {len(self.stored)} tensors)"

    def tensors(self, keys: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Read some tensors, one at a time, each once: drop one before taking the next to save memory.

        A file of the format before PyTorch 1.6, or one that was compressed, is read whole; of others, only what is
        asked for.

        Args:
            keys: Names from `shapes`.

        Raises:
            CheckpointError: A name is not in `shapes`, or a file is not what it was when it was opened.
        """
        wanted = list(dict.fromkeys(keys))
        for key in wanted:
            if key not in self.stored:
                guess = nearest(key, self.stored)
                raise self.place.error(f"has no tensor {key!r}", f"ask for names of `shapes`.{guess}")
        return self._stream(wanted)

    def _stream(self, wanted: list[str]) -> Iterator[tuple[str, Tensor]]:
        for _, group in groupby(wanted, key=lambda name: self.stored[name].source.path):
            names = list(group)
            source = self.stored[names[0]].source
            source.require_unchanged()
            tensors = read_tensors(source, self.key, deque(self.stored[name] for name in names))
            for name in names:
                if self.stored[name].extent is not None:  # It is read from the file only now.
                    source.require_unchanged()
                yield name, next(tensors).to(self.device)
