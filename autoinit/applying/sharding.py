"""Sharded parameters (`DTensor`): which elements a rank of the device mesh holds, by exact arithmetic on ranges."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from torch import Tensor

from .. import _torch
from ..sampling import Region

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is a `DTensor`."""
    # A program that has a DTensor has imported the module; others need not wait for it.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local_of(tensor: Tensor) -> Tensor:
    """This rank's shard of a `DTensor`; any other tensor itself."""
    return tensor._local_tensor if is_sharded(tensor) else tensor


class Split(NamedTuple):
    """How the ranks along a mesh dimension split a tensor dimension.

    `factor` pieces are split, each by itself: 1 for `Shard`, `split_factor` of `_StridedShard`.
    """

    ranks: int
    factor: int = 1


def region_of(tensor: DTensor) -> Region:
    """The elements of the whole tensor that this rank holds."""
    rank = tensor.device_mesh.get_coordinate()
    ranges = [
        [] if rank is None else held(size, list(splits.values()), [rank[dim] for dim in splits])
        for size, splits in zip(tensor.shape, _splits_of(tensor), strict=True)
    ]
    return Region.of_ranges(tensor.shape, ranges)


def unknown_layout(tensor: DTensor) -> str | None:
    """Why it cannot be known which elements this rank holds, if so. All ranks of the mesh find the same reason."""
    mesh = tensor.device_mesh
    try:
        splits = _splits_of(tensor)
    except ValueError as error:
        (placement,) = error.args
        if placement.is_partial():
            return f"has the placement {placement!r}: ranks hold summands, not shards. Redistribute it first"
        return f"has the placement {placement!r}, which autoinit does not know. Redistribute it to Shard or Replicate"
    layout = f"of shape {tuple(tensor.shape)} with placements {tensor.placements} on a mesh of {tuple(mesh.shape)}"
    for dim, size in enumerate(tensor.shape):
        if not is_unambiguous(size, tuple(splits[dim].values())):
            # Seven rows on 3 x 2 ranks: FSDP2 leaves rank (2, 0) nothing, and by the placements it has the last row.
            return (
                f"{layout} does not divide evenly along dimension {dim}: what FSDP2 over tensor parallelism holds is "
                "not what the placements say. Initialize the model before it is parallelized, or pad this dimension"
            )
    local = tuple(local_of(tensor).shape)
    if mesh.get_coordinate() is not None and local != (expected := region_of(tensor).size):
        return f"{layout} should have shape {expected} on this rank, and has {local}. Shard it by torch.chunk's rule"
    return None


def shard_like(tensor: DTensor, whole: Tensor) -> DTensor:
    """This rank's shard of a whole tensor, sharded as another is."""
    from torch.distributed.tensor import DTensor

    local = region_of(tensor).select(whole).to(tensor.device)
    mesh, placements = tensor.device_mesh, tensor.placements
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=tensor.shape, stride=tensor.stride())


def _splits_of(tensor: DTensor) -> list[dict[int, Split]]:
    """For each tensor dimension the mesh dimensions that split it, in order.

    Raises:
        ValueError: a placement is neither `Shard` nor `_StridedShard` nor `Replicate`.
    """
    from torch.distributed.tensor import Replicate, Shard

    strided = _torch.strided_shard()
    splits: list[dict[int, Split]] = [{} for _ in tensor.shape]
    for mesh_dim, (placement, ranks) in enumerate(zip(tensor.placements, tensor.device_mesh.shape, strict=True)):
        # Exact types: a subclass may mean something else, as those of Partial do.
        if type(placement) is strided:
            splits[placement.dim][mesh_dim] = Split(ranks, int(placement.split_factor))
        elif type(placement) is Shard:
            splits[placement.dim][mesh_dim] = Split(ranks)
        elif type(placement) is not Replicate:
            raise ValueError(placement)
    return splits


def held(size: int, splits: Sequence[Split], indices: Sequence[int]) -> list[range]:
    """The positions of a dimension that the rank with these indices holds, by the splits from left to right.

    Example:
        >>> held(7, [Split(2)], [1])
        [range(4, 7)]
        >>> held(8, [Split(2, factor=2)], [1])
        [range(2, 4), range(6, 8)]
    """
    ranges = [range(size)]
    for split, index in zip(splits, indices, strict=True):
        pieces = [_chunk(ranges, split.factor, number) for number in range(split.factor)]
        ranges = [each for piece in pieces for each in _chunk(piece, split.ranks, index)]
    merged: list[range] = []
    for each in ranges:
        if merged and merged[-1].stop == each.start:
            merged[-1] = range(merged[-1].start, each.stop)
        else:
            merged.append(each)
    return merged


def _chunk(ranges: Sequence[range], count: int, index: int) -> list[range]:
    """Chunk number `index` of `count`, as `torch.chunk` makes them: the last ones can be smaller, or empty."""
    length = -(-sum(map(len, ranges)) // count)
    start, stop, chunk = index * length, (index + 1) * length, []
    for each in ranges:
        if kept := each[max(start, 0) : max(stop, 0)]:
            chunk.append(kept)
        start, stop = start - len(each), stop - len(each)
    return chunk


@lru_cache(maxsize=4096)
def is_unambiguous(size: int, splits: tuple[Split, ...]) -> bool:
    """Whether every rank of the mesh holds what `held` says, also if `fully_shard` made the layout.

    `fully_shard` splits after tensor parallelism, but its placement comes first, and is a `_StridedShard`. Both orders
    give each rank the same only for some sizes.

    Example:
        >>> is_unambiguous(8, (Split(3, factor=2), Split(2)))
        True
        >>> is_unambiguous(7, (Split(3, factor=2), Split(2)))
        False
    """
    if size % math.prod(split.ranks for split in splits) == 0:
        return True
    sizes = {size}
    for number, split in enumerate(splits, 1):
        later, last = splits[number:], Split(split.ranks)
        if split.factor != 1 and split.factor == math.prod(each.ranks for each in later):
            if any(each.factor != 1 for each in later):
                return False
            for each, index, *others in product(sizes, *(range(each.ranks) for each in (split, *later))):
                if held(each, [split, *later], [index, *others]) != held(each, [*later, last], [*others, index]):
                    return False
        sizes = {sum(map(len, held(each, [split], [index]))) for each in sizes for index in range(split.ranks)}
    return True
