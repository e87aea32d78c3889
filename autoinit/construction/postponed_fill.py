"""One postponed fill, and how it is carried out later."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor

from .. import _torch
from .memory import Memory, Region
from .operators import Kind, Operator

TRUNC_NORMAL = Operator(
    f"torch.nn.init.{_torch.NO_GRAD_TRUNC_NORMAL}", Kind.COMPUTES, draws=True, overwrites=True, arithmetic=True
)
"""A function in Python that is postponed as a whole: it reads what it has drawn, and draws again."""


@dataclass(eq=False, slots=True)
class Fill:
    """One call that fills memory by numbers alone.

    Args:
        operator: what was called.
        memory: what it fills.
        region: which part of it.
        layout: offset, sizes and strides in elements, to make the tensor again.
        options: dtype and device of the tensor.
        numbers: the other arguments, by position.
        named: the other arguments, by name.
    """

    operator: Operator
    memory: Memory
    region: Region
    layout: tuple[int, torch.Size, tuple[int, ...]]
    options: Mapping[str, Any]
    numbers: tuple[Any, ...]
    named: Mapping[str, Any]
    is_void: bool = False
    """Whether only its draws matter, because later fills leave nothing of it, or its memory is gone."""
    number: int = -1
    """Its place in the order of the program."""

    @classmethod
    def of(cls, operator: Operator, memory: Memory, target: Tensor, numbers: tuple[Any, ...], named: Any) -> Fill:
        """The fill of a tensor."""
        layout = (int(target.storage_offset()), target.shape, target.stride())
        options = {"dtype": target.dtype, "device": target.device}
        return cls(operator, memory, Region.of(target), layout, options, numbers, named)

    def covers(self, other: Fill) -> bool:
        """Whether nothing is left of what another fill of the same memory did before."""
        return self.operator.overwrites and self.region.covers(other.region)

    def lies_in(self, regions: Mapping[int, Sequence[Region]]) -> bool:
        """Whether all that it fills is in some regions, by storage."""
        return any(region.covers(self.region) for region in regions.get(self.memory.key, ()))

    def apply(self, storage: torch.UntypedStorage | None) -> None:
        """Do it, on a storage; or on memory of its own, for the sake of the numbers that it draws."""
        offset, size, stride = self.layout
        if storage is None:
            # In the same layout: how many numbers torch draws from a generator depends on it.
            tensor = torch.empty_strided(size, stride, **self.options)
        else:
            tensor = torch.empty(0, **self.options).set_(storage, offset, size, stride)
        function_of(self.operator.name)(tensor, *self.numbers, **self.named)


@lru_cache(maxsize=256)
def function_of(operator: str) -> Callable[..., Any]:
    """The function with the name of an operator.

    Example:
        >>> function_of("aten.fill_.Scalar") is torch.ops.aten.fill_.Scalar
        True
    """
    if operator == TRUNC_NORMAL.name:
        return cast(Callable[..., Any], _torch.no_grad_trunc_normal)  # As it is before a block replaces it.
    return cast(Callable[..., Any], attrgetter(operator)(torch.ops))


@lru_cache(maxsize=4096)
def accepts(
    operator: str, dtype: torch.dtype, numbers: tuple[Any, ...], named: tuple[tuple[str, Any], ...], types: object
) -> bool:
    """Whether an operator takes some numbers; `types` are theirs, as `1 == 1.0 == True`."""
    try:
        with _torch.no_modes():
            function_of(operator)(torch.empty(0, dtype=dtype, device="cpu"), *numbers, **dict(named))
    except Exception:  # Whatever it is, the call itself raises it, at the line that made the mistake.
        return False
    return True
