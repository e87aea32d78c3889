"""Schemes that are code of a module, not of a tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .base import Initializer
from .pretrained import Pretrained


@dataclass(frozen=True, kw_only=True)
class ModuleFunction:
    """A callable that initializes a whole module by itself: what it writes is known only when it has run."""

    function: Callable[[nn.Module], object]

    def __str__(self) -> str:
        return f"{getattr(self.function, '__name__', type(self.function).__name__)}(module)"


Scheme = Initializer | Pretrained | ModuleFunction
"""Whatever a rule can give."""
