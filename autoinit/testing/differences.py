"""Parameters and buffers that are not bitwise equal in two models."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..applying import is_sharded
from ..layers import class_name
from ..planning import joined, walk
from ..planning.entries import shape_text


def differences(first: nn.Module, second: nn.Module) -> dict[str, str]:
    """By FQN, a text on each parameter and buffer that is not bitwise equal in two models."""
    one, other = tensors_of(first), tensors_of(second)
    found = dict.fromkeys({**one, **other}, "only one build has it")
    found.update((fqn, _difference(tensor, other[fqn][1])) for fqn, (_, tensor) in one.items() if fqn in other)
    return {fqn: f"{fqn} ({(one.get(fqn) or other[fqn])[0]}): {text}" for fqn, text in found.items() if text}


def tensors_of(module: nn.Module) -> dict[str, tuple[str, Tensor]]:
    """Layer and tensor of all parameters and buffers, under all their names."""
    return {
        joined(node.fqn, name): (class_name(node.module), tensor if is_lazy(tensor) else tensor.detach())
        for node in walk(module)
        for tensors in (node.module._parameters, node.module._buffers)
        for name, tensor in tensors.items()
        if tensor is not None
    }


def _difference(one: Tensor, other: Tensor) -> str:
    if is_lazy(one) or is_lazy(other):
        return "" if is_lazy(one) and is_lazy(other) else "it has a shape in one build only"
    if one.shape != other.shape:
        return f"its shape is {shape_text(tuple(one.shape))} or {shape_text(tuple(other.shape))}"
    if (one.dtype, one.device) != (other.dtype, other.device):
        return f"it is {one.dtype} on {one.device} or {other.dtype} on {other.device}"
    one, other = _plain(one), _plain(other)
    if not one.numel() or torch.equal(_bytes(one), _bytes(other)):
        return ""
    differing = (_bytes(one) != _bytes(other)).any(1)
    wide = torch.complex128 if one.is_complex() else torch.float64
    gap = float((one.reshape(-1)[differing].to(wide) - other.reshape(-1)[differing].to(wide)).abs().max())
    return f"{int(differing.sum()):,} of {one.numel():,} values differ, by {gap:.3g} at most"


def _plain(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor, as a dense tensor of numbers."""
    tensor = tensor.to_local() if is_sharded(tensor) else tensor
    if tensor.is_quantized:
        return tensor.int_repr()
    dense = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return dense.resolve_conj().resolve_neg()


def _bytes(tensor: Tensor) -> Tensor:
    """A row of bytes for each value: as bytes, NaN equals itself and -0 is not 0."""
    return tensor.contiguous().view(-1).view(torch.uint8).view(tensor.numel(), tensor.element_size())
