"""From a location to a checkpoint: found, fetched, and checked as far as can be without reading values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from .checkpoint import Checkpoint, Part, Stored
from .files import Contents, Source, is_index, read_contents, read_index
from .location import Location
from .locations import Found, find
from .selection import Pairs, Selection, dotted


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
        location: a path, where `~` is expanded; a URL; or a name with a scheme, such as `torchvision://resnet50`.
            Of a sharded checkpoint it is the `.index.json`, or the folder that holds it.
        prefix: take only the part under this name; a dot is added if absent.
        map_location: the device that tensors are read to; None means the CPU.
        key: where in a pickled file the state dict is, e.g. `"model"` or `"ema.state_dict"`.
        revise_keys: pairs of a regular expression and its replacement, for names, before `prefix`.
        sha256: the file's digest in hexadecimal, or 8 or more digits that it begins with.
        origin: where the location was written, e.g. `init_cfg[0]`, for errors.

    Raises:
        CheckpointError: the file cannot be found or fetched, it is empty, truncated, foreign or hostile, it is not
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
    place = Location.of(location, origin)
    device = _device(map_location, place)
    prefix = dotted(prefix, place)
    found = find(place, sha256.lower() if sha256 else None)
    selection = Selection(under=found.under, revise_keys=revise_keys, prefix=prefix)
    make = _sharded if is_index(found.source) else _single
    parts, stored, versions = make(found, key, selection)
    return Checkpoint(
        place=place,
        key=key,
        selection=selection,
        parts=parts,
        stored=stored,
        versions=versions,
        device=device,
    )


Made = tuple[tuple[Part, ...], Mapping[str, Stored], Mapping[str, dict[str, Any]]]


def _single(found: Found, key: str | None, selection: Selection) -> Made:
    part, contents = _read(found.source, key)
    names = selection.names(contents.entries, found.source.location)
    stored = {new: Stored(part=0, name=old, entry=contents.entries[old]) for new, old in names.items()}
    return (part,), stored, selection.modules(contents.versions)


def _sharded(found: Found, key: str | None, selection: Selection) -> Made:
    """Only the shards that hold something of the selection are fetched."""
    if found.sha256 is not None:
        remedy = "leave sha256= out, or give one of its shards"
        raise found.source.error("is an index of several files, and sha256= is of one", remedy)
    if key is not None:
        raise found.source.error(f"is an index, and has no part called {key!r}", "leave key= out")
    shards = read_index(found.source)
    names = selection.names(shards, found.source.location)
    parts: list[Part] = []
    stored: dict[str, Stored] = {}
    versions: dict[str, dict[str, Any]] = {}
    for number, shard in enumerate(dict.fromkeys(shards[old] for old in names.values())):
        part, contents = _read(found.beside(shard), None)
        parts.append(part)
        versions.update(selection.modules(contents.versions))
        here = {new: old for new, old in names.items() if shards[old] == shard}
        _require(here.values(), contents, part.source)
        stored.update({new: Stored(part=number, name=old, entry=contents.entries[old]) for new, old in here.items()})
    return tuple(parts), {new: stored[new] for new in names}, versions


def _read(source: Source, key: str | None) -> tuple[Part, Contents]:
    part = Part(source=source, stamp=source.stamp())
    return part, read_contents(source, key)


def _require(names: Iterable[str], contents: Contents, shard: Source) -> None:
    absent = [name for name in names if name not in contents.entries]
    if absent:
        what = f"has no tensor {absent[0]!r}, which the index says is in it"
        raise shard.error(what, "get the index and all of its shards again, from one place")


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
