"""Tensors in the arguments and outputs of modules, their moments, and their dead units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass

import torch
from torch import Tensor, nn

from .. import _torch

SQUARES_FIT = (1e-15, 1e15)  # Between these the square of a float32 is neither subnormal nor infinite.
# Layers whose features are the last axis.
LAST: tuple[type[nn.Module], ...] = (
    *(nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag),
    *(nn.LayerNorm, nn.RMSNorm, nn.RNNBase, nn.MultiheadAttention),
)
IMAGE = 4  # Number of axes from which on an unknown module's output is an image: batch, channels, height, width.


def tensors_in(value: object) -> Iterator[Tensor]:
    """Every tensor in a tensor, tuple, list, mapping or dataclass, at any depth, in its order."""
    items: Iterable[object] = ()
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        items = value.values()
    elif isinstance(value, (tuple, list)):
        items = value
    elif is_dataclass(value):
        items = (getattr(value, field.name) for field in fields(value))
    for item in items:
        yield from tensors_in(item)


def carries_signal(tensor: Tensor) -> bool:
    """Whether a tensor holds numbers that have a mean: real or complex, strided, and with memory."""
    numbers = tensor.is_floating_point() or tensor.is_complex()
    return numbers and tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_nested


def signal_in(value: object) -> Tensor | None:
    """The first tensor of a value that carries a signal."""
    return next((tensor for tensor in tensors_in(value) if carries_signal(tensor) and tensor.numel()), None)


def shapes_in(value: object) -> str:
    """The shapes of a value's tensors as text."""
    return ", ".join(" x ".join(map(str, tensor.shape)) or "scalar" for tensor in tensors_in(value))


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and variance of the finite values of a tensor, and the number of others."""

    count: int = 0
    nonfinite: int = 0
    mean: float = 0.0
    squares: float = 0.0  # Sum of the squares of the deviations from the mean.

    def __add__(self, other: Moments) -> Moments:
        """The moments of both tensors together.

        Source:
            Chan, Golub, LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances".
        """
        count = self.count + other.count
        apart = other.mean - self.mean
        share = other.count / count if count else 0.0
        return Moments(
            count=count,
            nonfinite=self.nonfinite + other.nonfinite,
            mean=self.mean + apart * share,
            squares=self.squares + other.squares + apart * apart * self.count * share,
        )

    @property
    def std(self) -> float | None:
        """Standard deviation; None if no value is finite."""
        return math.sqrt(self.squares / self.count) if self.count else None

    @property
    def rms(self) -> float | None:
        """Root mean square; None if no value is finite."""
        return math.hypot(math.sqrt(self.squares / self.count), self.mean) if self.count else None

    @property
    def norm(self) -> float:
        """Euclidean norm; NaN if a value is not finite."""
        return math.nan if self.nonfinite else math.hypot(math.sqrt(self.squares), math.sqrt(self.count) * self.mean)


NOTHING = Moments()


def moments(tensor: Tensor | None) -> Moments:
    """Measure a tensor, in float32 or better, however large or small its values are."""
    if tensor is None:
        return NOTHING
    values = tensor.detach()
    if values.is_sparse:
        values = values.coalesce().values()
    if values.is_complex():
        values = torch.view_as_real(values)
    if values.dtype not in (torch.float32, torch.float64):
        values = values.float()
    if not values.numel():
        return NOTHING
    low, high = (end.item() for end in torch.aminmax(values))
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = values[torch.isfinite(values)]
        return moments(finite) + Moments(nonfinite=values.numel() - finite.numel())
    largest = max(abs(low), abs(high))
    scale = 1.0 if not largest or SQUARES_FIT[0] < largest < SQUARES_FIT[1] else largest
    variance, mean = torch.var_mean(values if scale == 1.0 else values / scale, correction=0)
    squares = variance.item() * scale * scale * values.numel()
    return Moments(count=values.numel(), mean=mean.item() * scale, squares=squares)


def unit_axis(module: nn.Module, output: Tensor, known: dict[tuple[int, ...], int]) -> int:
    """The axis of an output, from the end, that counts its units: channels or features.

    A module without an axis of its own, such as an activation, keeps the axis of the layer that last made its shape:
    `known` has the axis of each shape so far, and gets that of this module.
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
    """Number of units that have one value over the whole batch, and of all; 0 of 0 if each is seen only once."""
    units = 0 if output.ndim + axis < 0 or output.is_complex() else output.shape[axis]
    if not units or output.numel() < 2 * units:
        return 0, 0
    others = [dim for dim in range(output.ndim) if dim != output.ndim + axis]
    values = output.detach()
    return int((values.amin(others) == values.amax(others)).sum()), units


def any_varies(value: object) -> bool:
    """Whether any tensor of a value has two different elements; also True if there is no tensor at all."""
    measured = [tensor for tensor in tensors_in(value) if tensor.layout == torch.strided and tensor.numel()]
    return not measured or any(bool((tensor != tensor.reshape(-1)[0]).any()) for tensor in measured)
