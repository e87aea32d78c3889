"""The inverses of weight norm and spectral norm."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

ITERATIONS = 15
"""As many as `torch.nn.utils.parametrizations.spectral_norm` runs when it is registered."""


def magnitude_and_direction(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """`g` and `v` such that `g * v / norm(v)` is `weight`, with norms over all axes but `dim`; over all axes for -1.

    A slice of zeros, whose direction would be NaN, gets a direction of ones and a magnitude of zero.
    """
    g = torch.norm_except_dim(weight, 2, dim)
    return g, torch.where(g == 0, torch.ones_like(weight), weight)


def singular_pair(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The left and right singular vectors of the largest singular value, by the power method.

    The matrix has axis `dim` of the weight as rows, and all other axes as columns. The method starts from the rows, the
    first counted twice, and not from random numbers, so that the result is the same everywhere.
    """
    matrix = weight.movedim(dim, 0).flatten(1)
    wide = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    v = normalize(wide.sum(dim=0) + wide[:1].sum(dim=0), dim=0)
    u = wide.new_zeros(wide.shape[0])
    for _ in range(ITERATIONS):
        u = normalize(torch.mv(wide, v), dim=0)
        v = normalize(torch.mv(wide.mH, u), dim=0)
    return u.to(matrix.dtype), v.to(matrix.dtype)
