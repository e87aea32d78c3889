"""The units of a module: the channels or features of its output, and which of them are dead."""

from __future__ import annotations

from torch import Tensor, nn

from .. import _torch

LAST: tuple[type[nn.Module], ...] = (
    *(nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag),
    *(nn.LayerNorm, nn.RMSNorm, nn.RNNBase, nn.MultiheadAttention),
)
IMAGE = 4
"""From this number of axes on, a tensor of an unknown module is taken for an image: batch, channels, height, width."""


def unit_axis(module: nn.Module, output: Tensor, known: dict[tuple[int, ...], int]) -> int:
    """The axis of an output that counts its units, from the end.

    A module without an axis of its own, such as an activation, keeps the axis of the layer that last made its shape.

    Args:
        module: what made the output.
        output: its shape counts.
        known: the axis of each shape so far; what the module says is added.
    """
    shape = tuple(output.shape)
    if isinstance(module, _torch.ConvNd):
        known[shape] = -1 - len(module.kernel_size)
    elif isinstance(module, (_torch.NormBase, nn.GroupNorm)) and output.ndim > 1:
        known[shape] = 1 - output.ndim
    elif isinstance(module, LAST):
        known[shape] = -1
    return known.get(shape, 1 - output.ndim if output.ndim >= IMAGE else -1)


def dead_units(output: Tensor, axis: int) -> tuple[int, int]:
    """How many units have one value over the whole batch, and how many there are; none if each is seen only once.

    Example:
        >>> import torch
        >>> dead_units(torch.tensor([[0.0, 1.0, 2.0], [0.0, 3.0, 2.0]]), axis=-1)
        (2, 3)
    """
    if output.ndim + axis < 0 or output.is_complex():
        return 0, 0
    units = output.shape[axis]
    if not units or output.numel() < 2 * units:
        return 0, 0
    others = [dim for dim in range(output.ndim) if dim != output.ndim + axis]
    values = output.detach()
    return int((values.amin(others) == values.amax(others)).sum()), units
