"""Weights that a forward pre-hook computes: `torch.nn.utils.weight_norm`, `spectral_norm`, `prune`, and others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from .base import Effective
from .norms import as_matrix, magnitude_and_direction, singular_pair


class Hooked(Effective):
    """Computed by a hook, which leaves it as a plain attribute that is as old as the last call of the module."""

    def _of_module(self, *suffixes: str) -> Mapping[str, Tensor]:
        return {self.name + suffix: getattr(self.module, self.name + suffix) for suffix in suffixes}

    def _refresh(self, value: Tensor) -> None:
        setattr(self.module, self.name, value)


class HookedWeightNorm(Hooked):
    """`weight_g` and `weight_v` of `torch.nn.utils.weight_norm`."""

    def __init__(self, module: nn.Module, hook: WeightNorm) -> None:
        super().__init__(module, hook.name)
        self._hook = hook

    through = "weight_norm"

    @property
    def stored(self) -> Mapping[str, Tensor]:
        return self._of_module("_g", "_v")

    def picture(self) -> Tensor:
        return _meta(self._of_module("_v"))

    def set(self, value: Tensor) -> None:
        for stored, part in zip(self.stored.values(), magnitude_and_direction(value, self._hook.dim), strict=True):
            stored.data.copy_(part)
        with torch.enable_grad():
            self._refresh(self._hook.compute_weight(self.module))

    def get(self) -> Tensor:
        with torch.no_grad():
            weight: Tensor = self._hook.compute_weight(self.module)
        return weight


class HookedSpectralNorm(Hooked):
    """`weight_orig` of `torch.nn.utils.spectral_norm`."""

    def __init__(self, module: nn.Module, hook: SpectralNorm) -> None:
        super().__init__(module, hook.name)
        self._hook = hook

    through = "spectral_norm"
    constraint = "divided by its spectral norm"
    refuses_zeros = True

    @property
    def stored(self) -> Mapping[str, Tensor]:
        return self._of_module("_orig")

    def picture(self) -> Tensor:
        return _meta(self.stored)

    def set(self, value: Tensor) -> None:
        for stored in self.stored.values():
            stored.data.copy_(value)
        # The pair that it has belongs to the values before: with it the quotient would be anything.
        pair = singular_pair(as_matrix(value, self._hook.dim))
        for buffer, vector in zip(self._of_module("_u", "_v").values(), pair, strict=True):
            buffer.copy_(vector)
        self._refresh(self.get())

    def get(self) -> Tensor:
        with torch.no_grad():
            return self._hook.compute_weight(self.module, do_power_iteration=False)


class HookedPruning(Hooked):
    """`weight_orig` of `torch.nn.utils.prune`: a mask makes zeros of the rest."""

    def __init__(self, module: nn.Module, hook: BasePruningMethod) -> None:
        super().__init__(module, hook._tensor_name)
        self._hook = hook

    through = "prune"
    constraint = "masked"

    @property
    def stored(self) -> Mapping[str, Tensor]:
        return self._of_module("_orig")

    def picture(self) -> Tensor:
        return _meta(self.stored)

    def set(self, value: Tensor) -> None:
        for stored in self.stored.values():
            stored.data.copy_(value)
        with torch.enable_grad():
            self._refresh(self._hook.apply_mask(self.module))  # type: ignore[no-untyped-call]

    def get(self) -> Tensor:
        with torch.no_grad():
            masked: Tensor = self._hook.apply_mask(self.module)  # type: ignore[no-untyped-call]
        return masked


class HookedOriginal(Hooked):
    """`weight_orig` of a hook of another library, such as an equalized learning rate.

    How the hook computes the weight is not known, so the stored tensor gets the values itself.
    """

    def __init__(self, module: nn.Module, name: str, hooks: Sequence[object]) -> None:
        super().__init__(module, name)
        self._hook = next((hook for hook in hooks if getattr(hook, "name", None) == name), hooks[0])

    @property
    def through(self) -> str:
        return getattr(self._hook, "__name__", type(self._hook).__name__)

    @property
    def stored(self) -> Mapping[str, Tensor]:
        return self._of_module("_orig")

    def picture(self) -> Tensor:
        return _meta(self.stored)

    def set(self, value: Tensor) -> None:
        [stored] = self.stored.values()
        stored.data.copy_(value)
        # The plain attribute as hooks leave it when they are registered; the next call computes it.
        self._refresh(stored.data)

    def get(self) -> Tensor:
        [stored] = self.stored.values()
        return stored


def _meta(tensors: Mapping[str, Tensor]) -> Tensor:
    [tensor] = tensors.values()
    return torch.empty_like(tensor, device="meta", requires_grad=False)
