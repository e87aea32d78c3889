"""The units of a module: the channels or features of its output, and which of them say nothing."""

from __future__ import annotations

from torch import Tensor, nn

from .. import _torch

LAST: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Bilinear,
    nn.Embedding,
    nn.EmbeddingBag,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.RNNBase,
    nn.MultiheadAttention,
)
IMAGE = 4
"""From this number of axes on, a tensor of an unknown module is taken for an image: batch, channels, height, width."""


class Units:
    """Which axis of a tensor counts its units.

    A layer tells. What has no say in it, an activation say, keeps the axis of the layer that made its shape last.

    Example:
        >>> import torch
        >>> units = Units()
        >>> (
        ...     units.axis(nn.ReLU(), torch.ones(2, 3, 4, 5)),
        ...     units.axis(nn.ReLU(), torch.ones(2, 3, 4)),
        ... )
        (-3, -1)
        >>> (
        ...     units.axis(nn.Conv1d(5, 3, 1), torch.ones(2, 3, 4)),
        ...     units.axis(nn.ReLU(), torch.ones(2, 3, 4)),
        ... )
        (-2, -2)
    """

    def __init__(self) -> None:
        self._axes: dict[tuple[int, ...], int] = {}

    def axis(self, module: nn.Module, output: Tensor) -> int:
        """Counted from the end."""
        shape = tuple(output.shape)
        known = _axis_of(module, output)
        if known is not None:
            self._axes[shape] = known
            return known
        return self._axes.get(shape, 1 - output.ndim if output.ndim >= IMAGE else -1)


def _axis_of(module: nn.Module, output: Tensor) -> int | None:
    if isinstance(module, _torch.ConvNd):
        return -1 - len(module.kernel_size)
    if isinstance(module, (_torch.NormBase, nn.GroupNorm)):
        return 1 - output.ndim if output.ndim > 1 else None
    return -1 if isinstance(module, LAST) else None


def dead_units(output: Tensor, axis: int) -> tuple[int, int]:
    """How many units have one value over the whole batch, and how many there are; none if each is seen only once.

    Example:
        >>> import torch
        >>> dead_units(torch.tensor([[0.0, 1.0, 2.0], [0.0, 3.0, 2.0]]), axis=-1)
        (2, 3)
        >>> dead_units(torch.ones(1, 3), axis=-1)
        (0, 0)
    """
    if output.ndim + axis < 0 or output.is_complex():
        return 0, 0
    units = output.shape[axis]
    if not units or output.numel() < 2 * units:
        return 0, 0
    others = [dim for dim in range(output.ndim) if dim != output.ndim + axis]
    values = output.detach()
    return int((values.amin(others) == values.amax(others)).sum()), units
