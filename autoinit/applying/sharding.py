"""Parameters of which each rank has a part: `DTensor`s, as `fully_shard` and tensor parallelism make them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor

from ..fills import Constant, Elementwise, Fill, Padded
from ..fills.base import KeyOf
from ..sampling import Region, Sampler

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is spread over a device mesh."""
    # Who has one has imported the module, and others need not wait for it.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local_of(tensor: Tensor) -> Tensor:
    """What this rank has of a tensor: of one that is not spread all of it.

    Example:
        >>> local_of(torch.zeros(2)).shape
        torch.Size([2])
    """
    return tensor._local_tensor if is_sharded(tensor) else tensor


def copy_attributes(param: Tensor, tensor: Tensor) -> None:
    """Give a tensor the attributes that libraries keep on a parameter, such as `infshape` of mup.

    Example:
        >>> param, tensor = torch.zeros(2), torch.zeros(2)
        >>> param.infshape = (2, 4)
        >>> copy_attributes(param, tensor)
        >>> tensor.infshape
        (2, 4)
    """
    for name, value in vars(param).items():
        vars(tensor).setdefault(name, value)


def region_of(tensor: DTensor) -> Region:
    """Where in the whole that is which this rank has."""
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    size, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return Region(shape=tuple(tensor.shape), offset=tuple(offset), size=tuple(size))


def write_shard(fill: Fill, tensor: DTensor, key_of: KeyOf, sampler: Sampler) -> None:
    """Give this rank's part the values that it has in the whole; no rank needs to hear of another."""
    local = local_of(tensor).detach()
    if not local.numel():
        return
    if isinstance(fill, Padded):
        write_shard(fill.fill, tensor, key_of, sampler)
        fill.write_zeros(local, region_of(tensor).offset[fill.axis])
    elif isinstance(fill, Constant):
        local.fill_(fill.value)
    elif isinstance(fill, Elementwise):
        sampler.draw_region(local, key_of(0), fill.transform(), region_of(tensor))
    else:
        whole = torch.zeros(tensor.shape, dtype=tensor.dtype, device=local.device)
        # For a user's function, which may read both.
        copy_attributes(tensor, whole)
        region_of(tensor).of(whole).copy_(local)
        fill.write(whole, key_of, sampler)
        copy_shard(tensor, whole)


def copy_shard(tensor: DTensor, whole: Tensor) -> None:
    """Give this rank's part what a whole tensor has there."""
    local_of(tensor).detach().copy_(region_of(tensor).of(whole))


def spread_like(tensor: DTensor, whole: Tensor) -> DTensor:
    """A whole tensor spread as another is: of it only what this rank has."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        region_of(tensor).of(whole).to(tensor.device),
        tensor.device_mesh,
        tensor.placements,
        run_check=False,
        shape=tensor.shape,
        stride=tensor.stride(),
    )
