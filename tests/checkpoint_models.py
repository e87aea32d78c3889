"""Models that checkpoints are loaded into, and what a report says of it."""

from __future__ import annotations

import pathlib
from typing import Any

import torch
from torch import Tensor, nn


def load(path: pathlib.Path, **keys: Any) -> dict[str, Any]:
    return dict(type="Pretrained", checkpoint=str(path), **keys)


def filled(model: nn.Module, value: float) -> dict[str, Tensor]:
    return {name: torch.full_like(tensor, value) for name, tensor in model.state_dict().items()}


def counts(report: Any) -> dict[str, list[str]]:
    (load,) = report.loads
    names = ("missing", "unexpected", "mismatched", "other_dtype")
    return {name: list(getattr(load, name)) for name in names if getattr(load, name)}


class Renaming(nn.Module):
    """Its weight had another name in version 1, and half of it stood beside it."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.zeros(4))
        self.calls = 0

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        self.calls += 1
        if local_metadata.get("version", 1) < 2:
            for name in ("weight", "bias"):
                if f"{prefix}linear.{name}" in state_dict:
                    state_dict[f"{prefix}fc.{name}"] = state_dict.pop(f"{prefix}linear.{name}")
            halves = [state_dict.pop(f"{prefix}scale_{side}", None) for side in "ab"]
            if None not in halves:
                state_dict[f"{prefix}scale"] = torch.cat(halves)  # type: ignore[arg-type]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
