"""Tensors that are described and not yet there: their shape, dtype, and how they lie in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from hypothesis import strategies as st
from torch import Tensor

from ...fans import torch_fans
from ...fills import TensorSpec

Memory = Literal["contiguous", "transposed", "strided", "offset", "channels_last"]

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True)
class TensorLayout:
    """A tensor that is yet to be allocated.

    Args:
        shape: its shape.
        dtype: its dtype.
        memory: "contiguous"; "transposed", its axes in reverse order; "strided", every other element along the last
            axis; "offset", in the middle of a storage; "channels_last", which only four dimensions have.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    memory: Memory = "contiguous"

    def build(self, value: float = math.nan) -> Tensor:
        """The tensor, with one value everywhere in its storage, around it too."""
        match self.memory:
            case "transposed":
                whole = torch.full(self.shape[::-1], value, dtype=self.dtype)
                return whole.permute(*reversed(range(len(self.shape))))
            case "strided":
                *leading, last = self.shape
                return torch.full((*leading, 2 * last), value, dtype=self.dtype)[..., ::2]
            case "offset":
                count = math.prod(self.shape)
                return torch.full((count + 4,), value, dtype=self.dtype)[2 : 2 + count].view(self.shape)
            case "channels_last":
                whole = torch.full(self.shape, value, dtype=self.dtype)
                return whole.contiguous(memory_format=torch.channels_last)
        return torch.full(self.shape, value, dtype=self.dtype)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # Else hypothesis would list the fields.

    def __repr__(self) -> str:
        shown = [repr(self.shape)]
        shown += [str(self.dtype)] if self.dtype is not torch.float32 else []
        shown += [repr(self.memory)] if self.memory != "contiguous" else []
        return f"TensorLayout({', '.join(shown)})"


def shapes(min_dims: int = 0, max_dims: int = 4, max_side: int = 6) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes without empty axes."""
    return st.lists(st.integers(1, max_side), min_size=min_dims, max_size=max_dims).map(tuple)


def tensors(
    *,
    min_dims: int = 0,
    max_dims: int = 4,
    max_side: int = 6,
    dtypes: Sequence[torch.dtype] = DTYPES,
) -> st.SearchStrategy[TensorLayout]:
    """Tensors that are yet to be allocated: of any dtype, and lying in memory in any way; shrinks to one float.

    Args:
        min_dims: fewest dimensions.
        max_dims: most dimensions.
        max_side: the longest that one is.
        dtypes: what they are made of.

    Example:
        >>> from hypothesis import find
        >>> from autoinit.testing.strategies import tensors
        >>> odd = find(tensors(), lambda tensor: tensor.memory == "strided")
        >>> odd, odd.build().stride()
        (TensorLayout((1,), 'strided'), (2,))
    """
    return _layouts(shapes(min_dims, max_dims, max_side), st.sampled_from(tuple(dtypes)))


@st.composite
def _layouts(
    draw: st.DrawFn, shapes: st.SearchStrategy[tuple[int, ...]], dtypes: st.SearchStrategy[torch.dtype]
) -> TensorLayout:
    shape = draw(shapes)
    possible = [way for way in get_args(Memory) if way != "channels_last" or len(shape) == 4]
    if not shape:
        possible = ["contiguous", "offset"]
    return TensorLayout(shape, draw(dtypes), draw(st.sampled_from(possible)))


def tensor_specs(
    *, min_dims: int = 0, max_dims: int = 4, max_side: int = 64, dtypes: Sequence[torch.dtype] = DTYPES
) -> st.SearchStrategy[TensorSpec]:
    """What a scheme is told of a parameter, for tests of one's own `Initializer.fill(spec)`.

    Fans are those that `torch.nn.init` computes; of less than two dimensions there are none.

    Args:
        min_dims: fewest dimensions.
        max_dims: most dimensions.
        max_side: the longest that one is.
        dtypes: the parameters'.

    Example:
        >>> from hypothesis import find
        >>> from autoinit.testing.strategies import tensor_specs
        >>> spec = find(tensor_specs(), lambda spec: spec.fans is not None and spec.fans.fan_in > 1)
        >>> spec.shape, spec.fans.fan_in, spec.fans.fan_out
        ((1, 2), 2, 1)
    """
    return st.builds(
        lambda shape, dtype: TensorSpec(shape=shape, dtype=dtype, fans=torch_fans(shape)),
        *(shapes(min_dims, max_dims, max_side), st.sampled_from(tuple(dtypes))),
    )
