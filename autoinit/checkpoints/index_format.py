"""Indexes of sharded checkpoints: JSON that says which tensor is in which file beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from .safetensors_format import is_safetensors
from .source import Source

_LARGEST = 64 << 20
"""Of an index, in bytes: some 100 for each tensor."""


def is_index(source: Source) -> bool:
    """Whether a file is JSON; if it is not an index, it cannot be read."""
    return source.head().removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") and not is_safetensors(source)


def read_index(source: Source) -> dict[str, str]:
    """The name of the shard that each tensor is in.

    Raises:
        CheckpointError: It is not an index, it is damaged, or it names a file that is not right beside it.
    """
    shards = dict(_weight_map(source))
    for tensor, shard in shards.items():
        if not isinstance(shard, str) or not _is_plain(shard):
            what = f"is an index that puts {tensor!r} into {shard!r}, which is not the name of a file beside it"
            raise source.error(f"{what}, and was refused", "get the checkpoint from somebody that you trust")
    if not shards:
        raise source.error("is an index of no tensors", "give the index of a checkpoint with weights")
    return shards


def _weight_map(source: Source) -> Mapping[str, Any]:
    if source.size() > _LARGEST:
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
    return shards


def _is_plain(name: str) -> bool:
    """Whether a name stays in its folder, on any system."""
    return name not in ("", ".", "..") and not set(name) & set("/\\:\0") and os.path.basename(name) == name
