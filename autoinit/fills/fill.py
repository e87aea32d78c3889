"""The contract of a fill, and the description of a tensor that fills are chosen by."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..fans import Fans
from ..sampling import Key, Region, Sampler, Transform

KeyOf = Callable[[int], Key]
"""From the number of a stream to its key: a fill that needs several independent streams numbers them from 0."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """All that a scheme may know of a parameter: no values, no module.

    Args:
        shape: the logical shape.
        dtype: the parameter's dtype.
        fans: its fans, or None where the shape has none.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    fans: Fans | None = None

    @property
    def numel(self) -> int:
        return int(torch.Size(self.shape).numel())


class Fill(ABC):
    """What one tensor gets. Immutable, comparable, printable; knows no parameter and no module.

    A fill whose distribution is known in closed form also has `mean`, `std` (of an element, before rounding to
    the parameter's dtype) and `cdf(x)`.
    """

    @property
    @abstractmethod
    def is_random(self) -> bool:
        """Whether values depend on a seed."""

    @abstractmethod
    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        """Overwrite every element of `tensor`, which requires no grad and is of the sampler's device.

        Args:
            tensor: any floating or complex dtype, any strides.
            key_of: the keys of this parameter's streams.
            sampler: where random values come from.
        """

    def write_region(self, tensor: Tensor, region: Region, key_of: KeyOf, sampler: Sampler) -> None:
        """Give a tensor that holds a region of a larger one the values that `write` gives to the whole there.

        Args:
            tensor: The part, of the sampler's device.
            region: The elements of the whole that it holds.
            key_of: Keys of this parameter's streams.
            sampler: Source of random values.
        """
        # A fill of the whole tensor is computed whole; others draw only what the part holds.
        whole = torch.empty(region.shape, dtype=tensor.dtype, device=tensor.device)
        self.write(whole, key_of, sampler)
        tensor.copy_(region.select(whole))

    def __str__(self) -> str:
        # repr() is exact; a table has room for six digits.
        shown = ", ".join(f"{f.name}={short(getattr(self, f.name))}" for f in fields(self) if f.repr)  # type: ignore[arg-type]
        return f"{type(self).__name__}({shown})"


def short(value: object) -> str:
    """A number to six significant digits, anything else by its repr."""
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


class Elementwise(Fill):
    """A fill whose elements are independent and identically distributed."""

    is_random = True

    if TYPE_CHECKING:
        # At run time a dataclass would take an inherited property for the default of the field of that name.
        @property
        def mean(self) -> float:
            """Expected value of an element."""

        @property
        def std(self) -> float:
            """Standard deviation of an element."""

    @property
    def largest(self) -> float | None:
        """The largest magnitude that an element can have, if it is known: low precision may not reach so far."""
        return None

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


class Mixture(Fill):
    """Fills of parts of one tensor. What is said of an element is meant over all parts, where every fill knows it."""

    @property
    @abstractmethod
    def weighted(self) -> list[tuple[float, Any]]:
        """The fills with the share of the elements that each has."""

    @abstractmethod
    def pieces(self, tensor: Tensor) -> Iterator[tuple[Fill, Tensor]]:
        """What a tensor is tiled with, each piece with the one fill that it gets, in the shape that it is for."""

    @property
    def is_random(self) -> bool:
        return any(fill.is_random for _, fill in self.weighted)

    @property
    def mean(self) -> float:
        """Expected value of an element."""
        return math.fsum(share * fill.mean for share, fill in self.weighted)

    @property
    def std(self) -> float:
        """Standard deviation of an element."""
        square = sum(share * (fill.std**2 + fill.mean**2) for share, fill in self.weighted)
        return math.sqrt(max(square - self.mean**2, 0))

    def cdf(self, x: Tensor) -> Tensor:
        """P(element <= x)."""
        return torch.stack([share * fill.cdf(x) for share, fill in self.weighted]).sum(0)
