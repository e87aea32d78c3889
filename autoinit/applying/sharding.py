"""Parameters that are sharded over ranks: `DTensor`s, as `fully_shard` and tensor parallelism make them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

from torch import Tensor

from ..sampling import Region
from .placements import held, is_unambiguous, splits_of

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is a `DTensor`."""
    # A program that has a DTensor has imported the module; others need not wait for it.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local_of(tensor: Tensor) -> Tensor:
    """This rank's shard of a `DTensor`; any other tensor itself.

    Example:
        >>> import torch
        >>> local_of(torch.zeros(2)).shape
        torch.Size([2])
    """
    return tensor._local_tensor if is_sharded(tensor) else tensor


def copy_attributes(param: Tensor, tensor: Tensor) -> None:
    """Give a tensor the attributes that libraries keep on a parameter, such as `infshape` of mup.

    Example:
        >>> import torch
        >>> param, tensor = torch.zeros(2), torch.zeros(2)
        >>> param.infshape = (2, 4)
        >>> copy_attributes(param, tensor)
        >>> tensor.infshape
        (2, 4)
    """
    for name, value in vars(param).items():
        vars(tensor).setdefault(name, value)


def region_of(tensor: DTensor) -> Region:
    """The elements of the whole tensor that this rank holds."""
    mesh = tensor.device_mesh
    splits = splits_of(tensor.placements, mesh.shape, tensor.dim())
    rank = mesh.get_coordinate()
    if rank is None:
        return Region.of_ranges(tensor.shape, [[] for _ in splits])
    ranges = [
        held(size, tuple(along.values()), [rank[dim] for dim in along])
        for size, along in zip(tensor.shape, splits, strict=True)
    ]
    return Region.of_ranges(tensor.shape, ranges)


def unknown_layout(tensor: DTensor) -> str | None:
    """Why it cannot be known which elements this rank holds, if so. All ranks of the mesh find the same reason."""
    mesh = tensor.device_mesh
    try:
        splits = splits_of(tensor.placements, mesh.shape, tensor.dim())
    except ValueError as error:
        (placement,) = error.args
        if placement.is_partial():
            return f"has the placement {placement!r}: ranks hold summands, not shards. Redistribute it first"
        return f"has the placement {placement!r}, which autoinit does not know. Redistribute it to Shard or Replicate"
    ambiguous = [
        dim
        for dim, (size, along) in enumerate(zip(tensor.shape, splits, strict=True))
        if not is_unambiguous(size, tuple(along.values()))
    ]
    layout = f"of shape {tuple(tensor.shape)} with placements {tensor.placements} on a mesh of {tuple(mesh.shape)}"
    if ambiguous:
        # Seven rows on 3 x 2 ranks: FSDP2 leaves rank (2, 0) nothing, and by the placements it has the last row.
        return (
            f"{layout} does not divide evenly along dimension {ambiguous[0]}: what FSDP2 over tensor parallelism holds "
            "is not what the placements say. Initialize the model before it is parallelized, or pad this dimension"
        )
    local = tuple(local_of(tensor).shape)
    if mesh.get_coordinate() is not None and local != (expected := region_of(tensor).size):
        return f"{layout} should have shape {expected} on this rank, and has {local}. Shard it by torch.chunk's rule"
    return None


def spread_like(tensor: DTensor, whole: Tensor) -> DTensor:
    """A whole tensor sharded as another is: of it only what this rank has."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        region_of(tensor).select(whole).to(tensor.device),
        tensor.device_mesh,
        tensor.placements,
        run_check=False,
        shape=tensor.shape,
        stride=tensor.stride(),
    )
