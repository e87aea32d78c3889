"""Weights that a forward pre-hook computes: `torch.nn.utils.weight_norm`, `spectral_norm`, `prune`, and others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .effective import Effective
from .norms import magnitude_and_direction, singular_pair


class Hooked(Effective):
    """A weight that a hook computes from `weight_orig` and leaves as a plain attribute of the module."""

    suffixes: tuple[str, ...] = ("_orig",)
    """Ends of the names of the stored tensors."""

    def __init__(self, module: nn.Module, name: str, hook: Any) -> None:
        super().__init__(module, name)
        self._hook = hook

    @abstractmethod
    def _compute(self) -> Any:
        """The weight that the hook computes from the stored tensors."""

    @property
    def stored(self) -> Mapping[str, Tensor]:
        return {self.name + suffix: getattr(self.module, self.name + suffix) for suffix in self.suffixes}

    def picture(self) -> Tensor:
        *_, stored = self.stored.values()
        return torch.empty_like(stored, device="meta", requires_grad=False)

    def _parts(self, value: Tensor) -> tuple[Tensor, ...]:
        """The values of the stored tensors for a value of the weight."""
        return (value,)

    def set(self, value: Tensor) -> None:
        for stored, part in zip(self.stored.values(), self._parts(value), strict=True):
            stored.data.copy_(part)
        with torch.enable_grad():
            setattr(self.module, self.name, self._compute())

    def get(self) -> Tensor:
        with torch.no_grad():
            weight: Tensor = self._compute()
        return weight


class HookedWeightNorm(Hooked):
    """`weight_g` and `weight_v` of `torch.nn.utils.weight_norm`."""

    through = "weight_norm"
    suffixes = ("_g", "_v")

    def _parts(self, value: Tensor) -> tuple[Tensor, ...]:
        return magnitude_and_direction(value, self._hook.dim)

    def _compute(self) -> Any:
        return self._hook.compute_weight(self.module)


class HookedSpectralNorm(Hooked):
    """`weight_orig` of `torch.nn.utils.spectral_norm`."""

    through = "spectral_norm"
    constraint = "divided by its spectral norm"
    refuses_zeros = True

    def set(self, value: Tensor) -> None:
        # The singular vectors belong to the values before: with them the quotient would be anything.
        for suffix, vector in zip(("_u", "_v"), singular_pair(value, self._hook.dim), strict=True):
            getattr(self.module, self.name + suffix).copy_(vector)
        super().set(value)

    @torch.no_grad()
    def _compute(self) -> Any:
        return self._hook.compute_weight(self.module, do_power_iteration=False)


class HookedPruning(Hooked):
    """`weight_orig` of `torch.nn.utils.prune`, whose mask sets elements to zero."""

    through = "prune"
    constraint = "masked"

    def _compute(self) -> Any:
        return self._hook.apply_mask(self.module)


class HookedOriginal(Hooked):
    """`weight_orig` of a hook of another library, such as an equalized learning rate.

    How the hook computes the weight is not known: the stored tensor gets the values, and is used as the weight until
    the next call of the module.
    """

    def __init__(self, module: nn.Module, name: str, hook: Any) -> None:
        super().__init__(module, name, hook)
        self.through = getattr(hook, "__name__", type(hook).__name__)

    def _compute(self) -> Any:
        [stored] = self.stored.values()
        return stored.data
