"""Open a checkpoint: find or fetch its files, and check them without reading values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

# The first two are imported because they register their schemes.
from . import hugging_face, zoos  # noqa: F401
from .checkpoint import Checkpoint
from .index_format import is_index, read_index
from .location import Location
from .location_schemes import follow
from .places import Place
from .reading import read_contents
from .selection import Pairs, Selection, dotted
from .source import Source
from .stored_tensors import Contents, StoredTensor


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

    Args:
        location: A path, where `~` is expanded; a URL; or a name with a scheme, such as `torchvision://resnet50`.
            Of a sharded checkpoint it is the `.index.json`, or the folder that holds it.
        prefix: Name of the part to take; a dot is added if absent.
        map_location: Device that tensors are read to; None means the CPU.
        key: Name of the state dict in a pickled file, e.g. `"model"` or `"ema.state_dict"`.
        revise_keys: Pairs of a regular expression and its replacement, for names, before `prefix`.
        sha256: The file's digest in hexadecimal, or 8 or more digits that it begins with.
        origin: Where the location was written, e.g. `init_cfg[0]`, for errors.

    Raises:
        CheckpointError: The file cannot be found or fetched, it is empty, truncated, foreign or hostile, it is not
            the one whose digest was given, it holds no tensors, or nothing is under the prefix; or there is no such
            device.

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
    written = Location.of(location, origin)
    device = _device(map_location, written)
    prefix = dotted(prefix, written)
    place, under = follow(written)
    sha256 = sha256.lower() if sha256 else None
    source = place.fetch(written, sha256)
    selection = Selection(under=under, revise_keys=revise_keys, prefix=prefix)
    if is_index(source):
        _require_no_part(source, key, sha256)
        stored, versions = _sharded(source, place, selection)
    else:
        stored, versions = _single(source, key, selection)
    return Checkpoint(place=written, key=key, selection=selection, stored=stored, versions=versions, device=device)


Made = tuple[Mapping[str, StoredTensor], Mapping[str, dict[str, Any]]]
"""Tensors by the checkpoint's names, and metadata of modules."""


def _single(source: Source, key: str | None, selection: Selection) -> Made:
    contents = read_contents(source, key)
    names = selection.names(contents.tensors, source.location)
    return {new: contents.tensors[old] for new, old in names.items()}, selection.modules(contents.versions)


def _require_no_part(index: Source, key: str | None, sha256: str | None) -> None:
    if sha256 is not None:
        remedy = "leave sha256= out, or give one of its shards"
        raise index.error("is an index of several files, and sha256= is of one", remedy)
    if key is not None:
        raise index.error(f"is an index, and has no part called {key!r}", "leave key= out")


def _sharded(index: Source, place: Place, selection: Selection) -> Made:
    """Only the shards that hold a selected tensor are fetched."""
    shards = read_index(index)
    names = selection.names(shards, index.location)
    stored: dict[str, StoredTensor] = {}
    versions: dict[str, dict[str, Any]] = {}
    for shard in dict.fromkeys(shards[old] for old in names.values()):
        location = index.location.means(f"its shard {shard!r}")
        source = place.beside(shard, index.path).fetch(location, None)
        contents = read_contents(source, None)
        versions.update(selection.modules(contents.versions))
        for new, old in names.items():
            if shards[old] == shard:
                stored[new] = _from_shard(contents, old, source)
    return {new: stored[new] for new in names}, versions


def _from_shard(contents: Contents, name: str, shard: Source) -> StoredTensor:
    if name not in contents.tensors:
        what = f"has no tensor {name!r}, which the index says is in it"
        raise shard.error(what, "get the index and all of its shards again, from one place")
    return contents.tensors[name]


def _device(map_location: object, place: Location) -> torch.device:
    remedy = "give a device that is there, such as 'cpu'"
    if map_location is None:
        return torch.device("cpu")
    if not isinstance(map_location, (str, torch.device)):
        raise place.error(f"has a map_location that is no device: {map_location!r}", remedy)
    try:
        device = torch.device(map_location)
        torch.empty(0, device=device)
    except Exception as e:  # each backend has its own way to say that it is not there
        reason = str(e).partition("\n")[0]
        raise place.error(f"cannot be read to {str(map_location)!r} ({reason})", remedy) from e
    if device.type == "meta":
        raise place.error("cannot be read to 'meta', which holds no values", remedy)
    return device
