"""Leave alone, said explicitly."""

from __future__ import annotations

from dataclasses import dataclass

from ..fills import Fill, TensorSpec
from .base import Initializer
from .registry import register_initializer


@register_initializer("Keep")
@dataclass(frozen=True, kw_only=True)
class Keep(Initializer):
    """Leave a parameter as it is: it counts as covered, and beats what earlier rules would give it.

    Example:
        >>> import torch
        >>> from autoinit import plan
        >>> cfg = [
        ...     dict(type="Normal", layer="Linear"),
        ...     dict(type="Keep", layer="Linear", params="bias"),
        ... ]
        >>> decided = plan(torch.nn.Linear(2, 2), cfg)
        >>> decided["bias"].fill, decided["bias"].rule.origin, decided.uncovered
        (None, 'init_cfg[1]', ())
    """

    reads = "nothing"

    def fill(self, spec: TensorSpec) -> Fill | None:
        return None
