"""The weights of a module that forward computes from stored tensors."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from .effective import Effective
from .hooks import Hooked, HookedOriginal, HookedPruning, HookedSpectralNorm, HookedWeightNorm
from .parametrizations import Parametrized

HOOKED: tuple[tuple[type, str, type[Hooked]], ...] = (
    (WeightNorm, "name", HookedWeightNorm),
    (SpectralNorm, "name", HookedSpectralNorm),
    (BasePruningMethod, "_tensor_name", HookedPruning),
)
"""Hooks of torch, the attribute with the name of the weight that each computes, and our class for it."""


def effective_weights(module: nn.Module) -> Iterator[Effective]:
    """The weights that this module itself computes from parameters; weights computed from buffers alone are left out.

    Example:
        >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> [weight] = effective_weights(layer)
        >>> weight.name, weight.through, list(weight.stored), weight.picture().shape
        ('weight', 'weight_norm', ['parametrizations.weight.original0', 'parametrizations.weight.original1'], \
torch.Size([2, 3]))
    """
    lists = module._modules.get("parametrizations")
    for name, parametrizations in lists._modules.items() if lists is not None else ():
        if isinstance(parametrizations, ParametrizationList) and parametrizations._parameters:
            yield Parametrized(module, name, parametrizations)
    known: set[str] = set()
    others: list[object] = []
    for hook in module._forward_pre_hooks.values():
        for cls, attribute, hooked in HOOKED:
            if isinstance(hook, cls):
                name = getattr(hook, attribute)
                known.add(name)
                yield hooked(module, name, hook)
                break
        else:
            others.append(hook)
    for stored, param in module._parameters.items() if others else ():
        # Another library's hook: a plain tensor attribute, with a parameter `..._orig` that is stored for it.
        name = stored.removesuffix("_orig")
        if name not in {stored, *known} and param is not None and isinstance(vars(module).get(name), Tensor):
            named = (hook for hook in others if getattr(hook, "name", None) == name)
            yield HookedOriginal(module, name, next(named, others[0]))
