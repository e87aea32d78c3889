"""Tensors in the arguments and outputs of modules."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor


def tensors_in(value: object) -> Iterator[Tensor]:
    """Every tensor in a tensor, tuple, list, mapping or dataclass, at any depth, in its order."""
    items: Iterable[object] = ()
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        items = value.values()
    elif isinstance(value, (tuple, list)):
        items = value
    elif dataclasses.is_dataclass(value):
        items = (getattr(value, field.name) for field in dataclasses.fields(value))
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
