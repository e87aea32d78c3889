"""Cases met in public code, each cut down to its mechanism: every docstring names its source and what is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

NORMAL: dict[str, Any] = dict(type="Normal", layer="Linear", std=0.02)


def is_drawn(weight: Tensor, std: float = 0.02) -> bool:
    """True if the values of a weight have this std, within a tenth."""
    return abs(weight.detach().std().item() / std - 1) < 0.1


class Net(nn.Module):
    """A model whose constructor does what a function says."""

    def __init__(self, construct: Callable[[Any], object]) -> None:
        super().__init__()
        construct(self)
