"""Weights under `torch.nn.utils.parametrize`: torch's own parametrizations, and users'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from .. import _torch
from .base import Effective
from .norms import as_matrix, magnitude_and_direction, singular_pair

NAMES = {_torch.WeightNorm: "weight_norm", _torch.SpectralNorm: "spectral_norm", _torch.Orthogonal: "orthogonal"}
CONSTRAINTS = {_torch.SpectralNorm: "divided by its spectral norm", _torch.Orthogonal: "made orthogonal"}


class Parametrized(Effective):
    """Computed by the parametrizations that are registered on it, whenever it is asked for."""

    def __init__(self, module: nn.Module, name: str, parametrizations: ParametrizationList) -> None:
        super().__init__(module, name)
        self._list = parametrizations

    @property
    def _parts(self) -> list[nn.Module]:
        return list(self._list)

    @property
    def through(self) -> str:
        return " + ".join(NAMES.get(type(part), type(part).__name__) for part in self._parts)

    @property
    def _originals(self) -> Sequence[str]:
        return ["original"] if self._list.is_tensor else [f"original{index}" for index in range(self._list.ntensors)]

    @property
    def stored(self) -> Mapping[str, Tensor]:
        return {f"parametrizations.{self.name}.{name}": getattr(self._list, name) for name in self._originals}

    @property
    def obstacle(self) -> str | None:
        for part in self._parts:
            if not hasattr(part, "right_inverse"):
                return f"its parametrization {type(part).__name__} has no right_inverse"
            if (
                isinstance(part, _torch.Orthogonal)
                and not hasattr(part, "base")
                and part.orthogonal_map.name != "householder"
            ):
                return "torch cannot assign to an orthogonal parametrization with use_trivialization=False"
        return None

    @property
    def constraint(self) -> str | None:
        return ", ".join(CONSTRAINTS[type(part)] for part in self._parts if type(part) in CONSTRAINTS) or None

    @property
    def refuses_zeros(self) -> bool:
        return any(isinstance(part, (_torch.SpectralNorm, _torch.Orthogonal)) for part in self._parts)

    def picture(self) -> Tensor:
        if self._list.is_tensor and not self._list.unsafe:
            return torch.empty_like(self._list.original, device="meta", requires_grad=False)
        # A forward pass may write buffers and draw random numbers: on copies without memory it does neither.
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
        self._follow()

    def _follow(self) -> None:
        """Bring the singular vectors that spectral norm keeps up to date with the new values."""
        if not any(isinstance(part, _torch.SpectralNorm) for part in self._parts):
            return
        inputs: tuple[Tensor, ...] = tuple(self.stored.values())
        with self._evaluating():
            for part in self._parts:
                if isinstance(part, _torch.SpectralNorm) and inputs[0].ndim > 1:
                    u, v = singular_pair(as_matrix(inputs[0].detach(), part.dim))
                    part._u.copy_(u)
                    part._v.copy_(v)
                inputs = (part(*inputs),)

    def get(self) -> Tensor:
        with self._evaluating():
            weight: Tensor = self._list()
        return weight

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        # In training, spectral norm moves its singular vectors whenever the weight is asked for.
        before = {module: module.training for module in self._list.modules()}
        self._list.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, training in before.items():
                module.training = training
