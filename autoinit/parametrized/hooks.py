"""Weights that a forward pre-hook computes: `torch.nn.utils.weight_norm`, `spectral_norm`, `prune`, and others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .base import Effective
from .norms import as_matrix, magnitude_and_direction, singular_pair


class Hooked(Effective):
    """A weight that a hook computes from `weight_orig`, and leaves as a plain attribute of the module.

    Args:
        module: what has the weight.
        name: of the weight.
        hook: what computes it.
    """

    def __init__(self, module: nn.Module, name: str, hook: Any) -> None:
        super().__init__(module, name)
        self._hook = hook

    @abstractmethod
    def _compute(self) -> Tensor:
        """The weight that the hook computes from the stored tensors as they are."""

    @property
    def stored(self) -> Mapping[str, Tensor]:
        return self._of_module("_orig")

    def _of_module(self, *suffixes: str) -> Mapping[str, Tensor]:
        return {self.name + suffix: getattr(self.module, self.name + suffix) for suffix in suffixes}

    def picture(self) -> Tensor:
        *_, stored = self.stored.values()
        return torch.empty_like(stored, device="meta", requires_grad=False)

    def _store(self, value: Tensor) -> None:
        [stored] = self.stored.values()
        stored.data.copy_(value)

    def set(self, value: Tensor) -> None:
        self._store(value)
        with torch.enable_grad():
            setattr(self.module, self.name, self._compute())

    def get(self) -> Tensor:
        with torch.no_grad():
            return self._compute()


class HookedWeightNorm(Hooked):
    """`weight_g` and `weight_v` of `torch.nn.utils.weight_norm`."""

    through = "weight_norm"

    @property
    def stored(self) -> Mapping[str, Tensor]:
        return self._of_module("_g", "_v")

    def _store(self, value: Tensor) -> None:
        for stored, part in zip(self.stored.values(), magnitude_and_direction(value, self._hook.dim), strict=True):
            stored.data.copy_(part)

    def _compute(self) -> Tensor:
        weight: Tensor = self._hook.compute_weight(self.module)
        return weight


class HookedSpectralNorm(Hooked):
    """`weight_orig` of `torch.nn.utils.spectral_norm`."""

    through = "spectral_norm"
    constraint = "divided by its spectral norm"
    refuses_zeros = True

    def _store(self, value: Tensor) -> None:
        super()._store(value)
        # The pair that it has belongs to the values before: with it the quotient would be anything.
        pair = singular_pair(as_matrix(value, self._hook.dim))
        for buffer, vector in zip(self._of_module("_u", "_v").values(), pair, strict=True):
            buffer.copy_(vector)

    @torch.no_grad()
    def _compute(self) -> Tensor:
        weight: Tensor = self._hook.compute_weight(self.module, do_power_iteration=False)
        return weight


class HookedPruning(Hooked):
    """`weight_orig` of `torch.nn.utils.prune`: a mask makes zeros of the rest."""

    through = "prune"
    constraint = "masked"

    def _compute(self) -> Tensor:
        weight: Tensor = self._hook.apply_mask(self.module)
        return weight


class HookedOriginal(Hooked):
    """`weight_orig` of a hook of another library, such as an equalized learning rate.

    How the hook computes the weight is not known: the stored tensor gets the values itself, and stands for the weight
    until the next call of the module.
    """

    @property
    def through(self) -> str:
        return getattr(self._hook, "__name__", type(self._hook).__name__)

    def _compute(self) -> Tensor:
        [stored] = self.stored.values()
        return stored.data
