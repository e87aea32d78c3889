"""How many inputs and outputs a unit of a weight has, and by which convention that was read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fans:
    """`fan_in` and `fan_out` of one weight, with the name of the convention that read them from its shape."""

    fan_in: float
    fan_out: float
    convention: str

    def __str__(self) -> str:
        return f"in {self.fan_in:g}, out {self.fan_out:g} ({self.convention})"


def torch_fans(shape: Sequence[int]) -> Fans | None:
    """Fans as `torch.nn.init` reads them: axes (out, in, *receptive field); None under two dimensions.

    Example:
        >>> torch_fans((8, 4, 3, 3))
        Fans(fan_in=36, fan_out=72, convention='torch')
        >>> torch_fans((8,)) is None
        True
    """
    if len(shape) < 2:
        return None
    receptive_field = math.prod(shape[2:])
    return Fans(fan_in=shape[1] * receptive_field, fan_out=shape[0] * receptive_field, convention="torch")
