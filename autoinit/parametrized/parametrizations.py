"""Weights under `torch.nn.utils.parametrize`: torch's own parametrizations, and users'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from .. import _torch
from .effective import Effective
from .norms import magnitude_and_direction, singular_pair

NAMES = {_torch.WeightNorm: "weight_norm", _torch.SpectralNorm: "spectral_norm", _torch.Orthogonal: "orthogonal"}
CONSTRAINTS = {_torch.SpectralNorm: "divided by its spectral norm", _torch.Orthogonal: "made orthogonal"}


class Parametrized(Effective):
    """A weight that its registered parametrizations compute whenever the attribute is read."""

    def __init__(self, module: nn.Module, name: str, parametrizations: ParametrizationList) -> None:
        super().__init__(module, name)
        self._list = parametrizations
        self._parts: list[nn.Module] = list(parametrizations)
        self.through = " + ".join(NAMES.get(type(part), type(part).__name__) for part in self._parts)
        self.obstacle = next(filter(None, map(_obstacle, self._parts)), None)
        self.constraint = ", ".join(filter(None, (CONSTRAINTS.get(type(part)) for part in self._parts))) or None
        self.refuses_zeros = any(isinstance(part, tuple(CONSTRAINTS)) for part in self._parts)

    @property
    def stored(self) -> Mapping[str, Tensor]:
        count = self._list.ntensors
        names = ["original"] if self._list.is_tensor else [f"original{index}" for index in range(count)]
        return {f"parametrizations.{self.name}.{name}": getattr(self._list, name) for name in names}

    def picture(self) -> Tensor:
        if self._list.is_tensor and not self._list.unsafe:
            return torch.empty_like(self._list.original, device="meta", requires_grad=False)
        # A forward pass may write buffers and draw random numbers, but not on meta copies.
        state = {**dict(self._list.named_parameters()), **dict(self._list.named_buffers())}
        sketch = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
        with torch.no_grad():
            weight: Tensor = torch.func.functional_call(self._list, sketch, ())
        return weight

    def set(self, value: Tensor) -> None:
        given: object = value
        for part in reversed(self._parts):
            if isinstance(part, _torch.WeightNorm):
                given = magnitude_and_direction(given, part.dim)  # type: ignore[arg-type]
            else:
                given = part.right_inverse(given)  # type: ignore[operator]
        tensors = [given] if self._list.is_tensor else list(given)  # type: ignore[call-overload]
        stored = list(self.stored.values())
        if len(tensors) != len(stored):
            raise ValueError(f"right_inverse gave {len(tensors)} tensors for {len(stored)}")
        for tensor, original in zip(tensors, stored, strict=True):
            if tensor.shape == original.shape:
                original.data.copy_(tensor)
            else:
                original.set_(tensor)
        if any(isinstance(part, _torch.SpectralNorm) for part in self._parts):
            self._update_singular_vectors()

    def _update_singular_vectors(self) -> None:
        inputs: tuple[Tensor, ...] = tuple(self.stored.values())
        with self._evaluating():
            for part in self._parts:
                if isinstance(part, _torch.SpectralNorm) and inputs[0].ndim > 1:
                    for buffer, vector in zip((part._u, part._v), singular_pair(inputs[0], part.dim), strict=True):
                        buffer.copy_(vector)
                inputs = (part(*inputs),)

    def get(self) -> Tensor:
        with self._evaluating():
            weight: Tensor = self._list()
        return weight

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        # In training, spectral norm moves its singular vectors whenever the weight is read.
        before = {module: module.training for module in self._list.modules()}
        self._list.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, training in before.items():
                module.training = training


def _obstacle(part: nn.Module) -> str | None:
    if not hasattr(part, "right_inverse"):
        return f"its parametrization {type(part).__name__} has no right_inverse"
    if isinstance(part, _torch.Orthogonal) and not hasattr(part, "base") and part.orthogonal_map.name != "householder":
        return "torch cannot assign to an orthogonal parametrization with use_trivialization=False"
    return None
