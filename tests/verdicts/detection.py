"""How surely `verify` finds an error of std."""

from __future__ import annotations

import torch
from torch import nn

from autoinit import initialize, verify

CASES = ((1_000_000, 0.005), (10_000, 0.05), (500, 0.2))
"""How many values, and by how much their std is off."""

FAMILIES = (
    dict(type="Normal", std=0.02),
    dict(type="Uniform", a=-0.05, b=0.05),
    dict(type="TruncNormal", std=0.02, a=-0.04, b=0.04),
)


def found(size: int, error: float, cfg: dict[str, object], dtype: torch.dtype, seed: int, alpha: float) -> bool:
    """Scale a weight, alone in its model, by 1 + `error` or 1 - `error`; True if `verify` finds it."""
    model = nn.Sequential(nn.Linear(size, 1))
    initialize(model, {**cfg, "layer": "Linear"}, seed=seed)
    with torch.no_grad():
        # Scaled before it is rounded, as an initialization with another std would be.
        model[0].weight.mul_(1 + error if seed % 2 else 1 - error)
    verdict = verify(model.to(dtype), {**cfg, "layer": "Linear"}, alpha=alpha)
    return any(failure.fqn == "0.weight" for failure in verdict.failures)


def power(
    size: int, error: float, cfg: dict[str, object], dtype: torch.dtype, runs: int, alpha: float, first: int = 0
) -> float:
    """The share of runs, with seeds from `first` on, in which it finds the error."""
    return sum(found(size, error, cfg, dtype, first + run, alpha) for run in range(runs)) / runs
