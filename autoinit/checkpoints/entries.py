"""One tensor of a checkpoint that is open: its shape now, its values when asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A tensor in a file.

    Args:
        shape: known without reading the values.
        read: reads the values, or maps them into memory.
    """

    shape: torch.Size
    read: Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class Entries:
    """The tensors of a file that is open, by the names they have in it.

    Args:
        by_name: in the file's order.
        mapped: whether values stay in the file until they are looked at. Otherwise all are in memory by now.
    """

    by_name: dict[str, Entry]
    mapped: bool
