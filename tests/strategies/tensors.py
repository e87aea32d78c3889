"""Tensors that are described and not yet there: their shape, dtype, and how they lie in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from hypothesis import strategies as st
from torch import Tensor

from .descriptions import Shown

Memory = Literal["contiguous", "transposed", "strided", "offset", "channels_last"]

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True)
class TensorLayout(Shown):
    """A tensor that is yet to be allocated."""

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

    def __repr__(self) -> str:
        shown = [repr(self.shape)]
        shown += [str(self.dtype)] if self.dtype is not torch.float32 else []
        shown += [repr(self.memory)] if self.memory != "contiguous" else []
        return f"TensorLayout({', '.join(shown)})"


@st.composite
def tensors(draw: st.DrawFn, *, min_dims: int = 0, max_dims: int = 4) -> TensorLayout:
    """Tensors that are yet to be allocated: of any dtype, and with any memory layout; shrinks to one float."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=min_dims, max_size=max_dims)))
    possible = [way for way in get_args(Memory) if way != "channels_last" or len(shape) == 4]
    if not shape:
        possible = ["contiguous", "offset"]
    return TensorLayout(shape, draw(st.sampled_from(DTYPES)), draw(st.sampled_from(possible)))


def seeds() -> st.SearchStrategy[int]:
    """Seeds that `torch.manual_seed` takes as well: small ones, the edges of a generator's words, and any others."""
    largest = 2**64 - 1
    edges = st.sampled_from((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, largest))
    return st.one_of(edges, st.integers(0, 100), st.integers(0, largest))
