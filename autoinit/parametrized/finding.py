"""Which weights of a module are computed from stored tensors."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from .base import Effective
from .hooks import HookedOriginal, HookedPruning, HookedSpectralNorm, HookedWeightNorm
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
    known: list[Effective] = []
    others: list[object] = []
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            known.append(HookedWeightNorm(module, hook))
        elif isinstance(hook, SpectralNorm):
            known.append(HookedSpectralNorm(module, hook))
        elif isinstance(hook, BasePruningMethod):
            known.append(HookedPruning(module, hook))
        else:
            others.append(hook)
    yield from known
    for name in _stored_elsewhere(module) if others else ():
        if all(name != weight.name for weight in known):
            yield HookedOriginal(module, name, others)


def _stored_elsewhere(module: nn.Module) -> Iterator[str]:
    """Names of plain tensor attributes that a parameter is stored for, with `_orig` at the end of its name."""
    for stored, param in module._parameters.items():
        name = stored.removesuffix("_orig")
        if name != stored and param is not None and isinstance(vars(module).get(name), Tensor):
            yield name
