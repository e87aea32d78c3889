"""The contract of a fill, and the description of a tensor that fills are chosen by."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import ShapeError
from ..fans import Fans
from ..sampling import Key, Region, Sampler, Transform

KeyOf = Callable[[int], Key]
"""Function from the number of a stream to its key; a fill numbers its independent streams from 0."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """The description of a parameter that an initializer gets: no values, no module.

    Args:
        shape: Logical shape.
        dtype: Dtype of the parameter.
        fans: Fans of the parameter, or None where the shape has none.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    fans: Fans | None = None

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


class Fill(ABC):
    """The values of one tensor. Immutable, comparable, printable; knows no parameter and no module.

    A fill whose distribution is known in closed form also has `mean`, `std` (of an element, before rounding to
    the parameter's dtype) and `cdf(x)`.
    """

    @property
    def is_random(self) -> bool:
        """Whether values depend on a seed."""
        return True

    @abstractmethod
    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        """Overwrite every element of a tensor that requires no grad.

        Args:
            tensor: Tensor of any floating or complex dtype and any strides, on the sampler's device.
            key_of: Keys of this parameter's streams.
            sampler: Source of random values.
        """

    def write_region(self, tensor: Tensor, region: Region, key_of: KeyOf, sampler: Sampler) -> None:
        """Give a tensor that holds a region of a larger one the values that `write` gives to the whole there.

        A fill of the whole tensor is computed whole; others draw only what the tensor holds.
        """
        whole = torch.empty(region.shape, dtype=tensor.dtype, device=tensor.device)
        self.write(whole, key_of, sampler)
        tensor.copy_(region.select(whole))

    def scaled(self, factor: float) -> Fill:
        """The fill of the same tensor times a factor other than 0.

        Raises:
            ShapeError: The values cannot be scaled.
        """
        raise ShapeError(f"{self} cannot be scaled. Remove 'scale', or give the initializer the number itself.")

    def __str__(self) -> str:
        """Like the repr, which is exact, with six digits."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self) if f.repr)  # type: ignore[arg-type]
        shown = (f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value!r}" for name, value in values)
        return f"{type(self).__name__}({', '.join(shown)})"


class Elementwise(Fill):
    """A fill whose elements are independent and identically distributed."""

    if TYPE_CHECKING:
        # At run time a dataclass would take an inherited property for the default of the field of that name.
        @property
        def mean(self) -> float: ...
        @property
        def std(self) -> float: ...

    @property
    @abstractmethod
    def largest(self) -> float:
        """The largest magnitude that an element can have: low precision may not reach so far."""

    @abstractmethod
    def cdf(self, x: Tensor) -> Tensor:
        """P(element <= x), in float64."""

    @abstractmethod
    def transform(self) -> Transform:
        """The formula from 32 random bits to a value."""

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        sampler.draw_into(tensor, key_of(0), self.transform())

    def write_region(self, tensor: Tensor, region: Region, key_of: KeyOf, sampler: Sampler) -> None:
        sampler.draw_region(tensor, key_of(0), self.transform(), region)
