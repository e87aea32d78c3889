"""Batches of inputs for models whose first layer is linear."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from autoinit import Propagation, propagate


def batch(model: nn.Module, size: int = 8, seed: int = 0) -> Tensor:
    """Standard normal features, as many as the first linear layer takes."""
    layer = next(module for module in model.modules() if isinstance(module, nn.Linear))
    values = torch.randn(size, layer.in_features, generator=torch.Generator("cpu").manual_seed(seed))
    return values.to(layer.weight.dtype)


def measured(model: nn.Module, size: int = 8, seed: int = 0, **options: Any) -> Propagation:
    """A batch of such features, propagated."""
    return propagate(model, batch(model, size, seed), seed=seed, **options)
