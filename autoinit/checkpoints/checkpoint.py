"""Open a checkpoint: names, shapes and dtypes at once; values one at a time, when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..errors import nearest
from .contents import Contents, StoredTensor
from .location_schemes import Place, follow
from .reading import is_index, read_contents, read_index, read_tensors
from .selection import Pairs, Selection
from .source import Location, Source


@dataclass(frozen=True, kw_only=True, repr=False)
class Checkpoint:
    """Names, shapes and dtypes of the selected tensors of a file or a set of shards.

    Made by `open_checkpoint`. Holds no values and no open file; equal if location, key and selection are.
    """

    place: Location
    key: str | None  # Where in the file the state dict is; None for the usual place.
    selection: Selection
    stored: Mapping[str, StoredTensor] = field(compare=False)  # By name; not to be changed.
    versions: Mapping[str, dict[str, Any]] = field(compare=False)  # Metadata of each module, by the module's name.
    device: torch.device = field(compare=False)  # Tensors are read to it.

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
        """Read the tensors of some names of `shapes`, one at a time: drop one before taking the next to save memory.

        A file of the format before PyTorch 1.6, or one that was compressed, is read whole; of others, only what is
        asked for.

        Raises:
            CheckpointError: A name is not in `shapes`, or a file is not what it was when it was opened.
        """
        wanted = list(dict.fromkeys(keys))
        for key in wanted:
            if key not in self.stored:
                guess = nearest(key, self.stored)
                raise self.place.error(f"has no tensor {key!r}", f"ask for names of `shapes`.{guess}")
        values = read_tensors([self.stored[name] for name in wanted], self.key)
        return ((name, tensor.to(self.device)) for name, tensor in zip(wanted, values, strict=True))


def open_checkpoint(
    location: str | os.PathLike[str],
    *,
    prefix: str | None = None,
    map_location: str | torch.device | None = "cpu",
    key: str | None = None,
    revise_keys: Pairs | None = None,
    sha256: str | None = None,
    origin: str | None = None,
) -> Checkpoint:
    """Open a checkpoint: fetch it if it is remote, read names, shapes and dtypes, check all that can be checked.

    `location` is a path, a URL or a name with a scheme; of a sharded checkpoint the `.index.json`, or the folder that
    holds it. `origin` is where it was written, for errors. The other arguments are those of `Pretrained`.

    Raises:
        CheckpointError: The file cannot be found or fetched, it is empty, truncated, foreign or hostile, it is not the
            one whose digest was given, it holds no tensors, nothing is under the prefix, or the device does not exist.

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
    written = Location(text=os.fspath(location) if isinstance(location, os.PathLike) else location, origin=origin)
    if not isinstance(written.text, str):
        raise written.error("is not a path", "give a path, a URL or a name as a string")
    device = _device(map_location, written)
    if isinstance(prefix, str):
        prefix = prefix if prefix.endswith(".") else f"{prefix}."
    elif prefix is not None:
        raise written.error(f"has a prefix that is no string: {prefix!r}", "give a name such as 'backbone', or none")
    place, part = follow(written)
    sha256 = sha256.lower() if sha256 else None
    source = place.fetch(written, sha256)
    selection = Selection(part=part, revise_keys=revise_keys, prefix=prefix)
    if is_index(source):
        if sha256 is not None:
            remedy = "leave sha256= out, or give one of its shards"
            raise source.error("is an index of several files, and sha256= is of one", remedy)
        if key is not None:
            raise source.error(f"is an index, and has no part called {key!r}", "leave key= out")
        stored, versions = _read_shards(source, place, selection)
    else:
        contents = read_contents(source, key)
        names = selection.names(contents.tensors, source.location)
        stored = {new: contents.tensors[old] for new, old in names.items()}
        versions = selection.modules(contents.versions)
    return Checkpoint(place=written, key=key, selection=selection, stored=stored, versions=versions, device=device)


def _read_shards(index: Source, place: Place, selection: Selection) -> Contents:
    """Fetch and read only the shards that hold a selected tensor."""
    shards = read_index(index)
    names = selection.names(shards, index.location)
    stored: dict[str, StoredTensor] = {}
    versions: dict[str, dict[str, Any]] = {}
    for shard in dict.fromkeys(shards[old] for old in names.values()):
        source = place.sibling(shard, index.path).fetch(index.location.means(f"its shard {shard!r}"), None)
        contents = read_contents(source, None)
        versions.update(selection.modules(contents.versions))
        for new, old in names.items():
            if shards[old] == shard:
                if old not in contents.tensors:
                    what = f"has no tensor {old!r}, which the index says is in it"
                    raise source.error(what, "get the index and all of its shards again, from one place")
                stored[new] = contents.tensors[old]
    return Contents({new: stored[new] for new in names}, versions)


def _device(map_location: object, place: Location) -> torch.device:
    remedy = "give a device that is there, such as 'cpu'"
    if map_location is None:
        return torch.device("cpu")
    if not isinstance(map_location, (str, torch.device)):
        raise place.error(f"has a map_location that is no device: {map_location!r}", remedy)
    try:
        device = torch.device(map_location)
        torch.empty(0, device=device)
    except Exception as e:  # Each backend has its own way to say that it is not there.
        reason = str(e).partition("\n")[0]
        raise place.error(f"cannot be read to {str(map_location)!r} ({reason})", remedy) from e
    if device.type == "meta":
        raise place.error("cannot be read to 'meta', which holds no values", remedy)
    return device
