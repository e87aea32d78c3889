"""The contract of a weight that is computed from stored tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class Effective(ABC):
    """A weight as forward uses it, where a module stores something else and computes it from that.

    Args:
        module: what has the weight as an attribute.
        name: of that attribute.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module = module
        self.name = name

    @property
    @abstractmethod
    def through(self) -> str:
        """What computes it, in torch's word: `weight_norm`, `spectral_norm`."""

    @property
    @abstractmethod
    def stored(self) -> Mapping[str, Tensor]:
        """What it is computed from, by names as seen from the module."""

    @abstractmethod
    def picture(self) -> Tensor:
        """A tensor of its shape and dtype on the meta device; nothing of the module changes."""

    @abstractmethod
    def set(self, value: Tensor) -> None:
        """Write stored tensors, in place, from which `value` is computed, or what is nearest to it.

        Args:
            value: of the shape and dtype of the picture; may be kept or overwritten.
        """

    @abstractmethod
    def get(self) -> Tensor:
        """Its value now; nothing of the module changes."""

    @property
    def obstacle(self) -> str | None:
        """Why it cannot be set, as the end of a sentence about it; None if it can."""
        return None

    @property
    def constraint(self) -> str | None:
        """What is done to every value that it is set to; None if it gets what it is given."""
        return None

    @property
    def refuses_zeros(self) -> bool:
        """Whether nothing can be computed from zeros: a norm of zero divides nothing, and zeros have no direction."""
        return False
