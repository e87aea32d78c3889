"""Which weights of a module are computed from stored tensors."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from .base import Effective
from .hooks import HookedPruning, HookedSpectralNorm, HookedWeightNorm
from .parametrizations import Parametrized


def effective_weights(module: nn.Module) -> Iterator[Effective]:
    """The weights that this module itself computes from parameters; those computed from buffers alone are left out.

    Example:
        >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> [weight] = effective_weights(layer)
        >>> weight.name, weight.through, list(weight.stored), weight.picture().shape
        ('weight', 'weight_norm', ['parametrizations.weight.original0', 'parametrizations.weight.original1'], \
torch.Size([2, 3]))
    """
    if "parametrizations" in module._modules:
        lists = module._modules["parametrizations"]
        for name, parametrizations in lists._modules.items() if lists is not None else ():
            if isinstance(parametrizations, ParametrizationList) and parametrizations._parameters:
                yield Parametrized(module, name, parametrizations)
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            yield HookedWeightNorm(module, hook)
        elif isinstance(hook, SpectralNorm):
            yield HookedSpectralNorm(module, hook)
        elif isinstance(hook, BasePruningMethod):
            yield HookedPruning(module, hook)
