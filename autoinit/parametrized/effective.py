"""The interface of a weight that forward computes from stored tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class Effective(ABC):
    """A weight as forward uses it, where the module stores other tensors and computes the weight from them.

    Args:
        module: the module that has the weight as an attribute.
        name: name of that attribute.
    """

    through: str
    """Torch's name of the computation: `weight_norm`, `spectral_norm`."""
    obstacle: str | None = None
    """Why the weight cannot be set, as the end of a sentence; None if it can."""
    constraint: str | None = None
    """Change of every value that the weight is set to (`masked`); None if the weight gets the value itself."""
    refuses_zeros = False
    """Whether the weight cannot be zero: spectral norm divides by its norm, and zeros cannot be made orthogonal."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module = module
        self.name = name

    @property
    @abstractmethod
    def stored(self) -> Mapping[str, Tensor]:
        """The stored tensors, by their names as seen from the module."""

    @abstractmethod
    def picture(self) -> Tensor:
        """A meta tensor with the shape and dtype of the weight; nothing of the module changes."""

    @abstractmethod
    def set(self, value: Tensor) -> None:
        """Write stored tensors, in place, so that the weight is `value`, or as near as its constraint allows.

        Args:
            value: a tensor of the shape and dtype of the picture; may be kept or overwritten.
        """

    @abstractmethod
    def get(self) -> Tensor:
        """The weight now; nothing of the module changes."""
