"""The tensors in what a module takes or returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


def tensors_in(value: object) -> Iterator[Tensor]:
    """Every tensor of a value, in its order: of a tensor, tuple, list, mapping or dataclass, at any depth.

    Example:
        >>> [
        ...     tuple(tensor.shape)
        ...     for tensor in tensors_in((torch.ones(2), {"a": [torch.ones(3)], "b": None}))
        ... ]
        [(2,), (3,)]
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))


def carries_signal(tensor: Tensor) -> bool:
    """Whether it holds numbers that have a mean: real or complex, strided, and with memory."""
    numbers = tensor.is_floating_point() or tensor.is_complex()
    return numbers and tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_nested


def signal_in(value: object) -> Tensor | None:
    """The first tensor of a value that carries a signal.

    Example:
        >>> signal_in((torch.tensor([1, 2]), torch.tensor([0.5])))
        tensor([0.5000])
    """
    return next((tensor for tensor in tensors_in(value) if carries_signal(tensor) and tensor.numel()), None)


def shapes_in(value: object) -> str:
    """The shapes of a value's tensors, for a reader.

    Example:
        >>> shapes_in((torch.ones(8, 3), {"mask": torch.ones(8)}))
        '8 x 3, 8'
    """
    return ", ".join(" x ".join(map(str, tensor.shape)) or "scalar" for tensor in tensors_in(value))
