"""What each rank of a device mesh holds of a tensor, by the tensor's placements: exact arithmetic on ranges."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from .. import _torch

if TYPE_CHECKING:
    from torch.distributed.tensor import Placement

Ranges = Sequence[range]


class Split(NamedTuple):
    """How one mesh dimension splits a tensor dimension.

    Args:
        ranks: Number of ranks along the mesh dimension.
        factor: Number of pieces, each of which is split by itself: 1 for `Shard`, `split_factor` of `_StridedShard`.
    """

    ranks: int
    factor: int = 1


def splits_of(placements: Sequence[Placement], mesh_shape: Sequence[int], ndim: int) -> list[dict[int, Split]]:
    """For each tensor dimension the mesh dimensions that split it, in order.

    Raises:
        ValueError: a placement is neither `Shard` nor `_StridedShard` nor `Replicate`.
    """
    from torch.distributed.tensor import Replicate, Shard

    strided = _torch.strided_shard()
    splits: list[dict[int, Split]] = [{} for _ in range(ndim)]
    for mesh_dim, (placement, count) in enumerate(zip(placements, mesh_shape, strict=True)):
        # Exact types: a subclass may mean something else, as those of Partial do.
        if type(placement) is strided:
            splits[placement.dim][mesh_dim] = Split(count, int(placement.split_factor))
        elif type(placement) is Shard:
            splits[placement.dim][mesh_dim] = Split(count)
        elif type(placement) is not Replicate:
            raise ValueError(placement)
    return splits


def held(size: int, splits: Sequence[Split], indices: Sequence[int]) -> Ranges:
    """The positions of a dimension that one rank holds, by the splits from left to right, as `distribute_tensor` does.

    Args:
        size: Size of the whole dimension.
        splits: How mesh dimensions split it.
        indices: The rank's coordinate along each of those mesh dimensions.

    Example:
        >>> held(7, [Split(2)], [1])
        [range(4, 7)]
        >>> held(8, [Split(2, factor=2), Split(2)], [1, 0])
        [range(2, 4)]
        >>> held(8, [Split(2, factor=2)], [1])
        [range(2, 4), range(6, 8)]
    """
    ranges: Ranges = [range(size)]
    for split, index in zip(splits, indices, strict=True):
        ranges = _shard(ranges, split, index)
    return ranges


@lru_cache(maxsize=4096)
def is_unambiguous(size: int, splits: tuple[Split, ...]) -> bool:
    """Whether every rank of the mesh holds what `held` says, also if `fully_shard` made the layout.

    It splits after tensor parallelism, but its placement comes first. That it is a `_StridedShard` makes up for this
    only if both orders give shards of the same sizes.

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
        later = splits[number:]
        is_after = split.factor != 1 and split.factor == math.prod(each.ranks for each in later)
        if is_after and not all(_orders_agree(each, split, later) for each in sizes):
            return False
        if all(each.factor == 1 for each in later):
            break
        sizes = {sum(map(len, held(each, [split], [index]))) for each in sizes for index in range(split.ranks)}
    return True


def _orders_agree(size: int, split: Split, later: Sequence[Split]) -> bool:
    """Whether to split first or after all later splits gives each rank the same."""
    if any(each.factor != 1 for each in later):
        return False
    last = Split(split.ranks)
    return all(
        held(size, [split, *later], [index, *others]) == held(size, [*later, last], [*others, index])
        for index, *others in product(*(range(each.ranks) for each in (split, *later)))
    )


def _shard(ranges: Ranges, split: Split, index: int) -> Ranges:
    """Chunk number `index` of each of `factor` chunks of the positions."""
    pieces = [_chunk(ranges, split.factor, number) for number in range(split.factor)]
    return list(_joined(each for piece in pieces for each in _chunk(piece, split.ranks, index)))


def _chunk(ranges: Ranges, count: int, index: int) -> Ranges:
    """Chunk number `index` of `count`, as `torch.chunk` makes them: the last ones can be smaller, or empty."""
    length = -(-sum(map(len, ranges)) // count)
    start, stop, chunk = index * length, (index + 1) * length, []
    for each in ranges:
        if kept := each[max(start, 0) : max(stop, 0)]:
            chunk.append(kept)
        start, stop = start - len(each), stop - len(each)
    return chunk


def _joined(ranges: Iterator[range]) -> Iterator[range]:
    """The ranges, with neighbours joined."""
    last: range | None = None
    for each in ranges:
        if last is not None and last.stop == each.start:
            last = range(last.start, each.stop)
            continue
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield last
