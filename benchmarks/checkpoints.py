"""Checkpoints of each format, and what loading one takes beyond the model."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from autoinit import initialize

State = Mapping[str, Tensor]
Save = Callable[[State, Path], None]

SHARDS = 4


def save_zip(state: State, path: Path) -> None:
    torch.save(dict(state), path)


def save_old(state: State, path: Path) -> None:
    torch.save(dict(state), path, _use_new_zipfile_serialization=False)


def save_safetensors(state: State, path: Path) -> None:
    save_file(dict(state), path)


def save_shards(save: Save, state: State, folder: Path) -> None:
    folder.mkdir()
    names = list(state)
    shard_of = {name: f"shard{SHARDS * number // len(names)}" for number, name in enumerate(names)}
    for shard in dict.fromkeys(shard_of.values()):
        save({name: state[name] for name in names if shard_of[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shard_of}))


FORMATS: dict[str, Save] = {
    "zip": save_zip,
    "safetensors": save_safetensors,
    "sharded zip": lambda state, path: save_shards(save_zip, state, path),
    "sharded safetensors": lambda state, path: save_shards(save_safetensors, state, path),
    "before PyTorch 1.6": save_old,
}
ONE_TENSOR = frozenset(FORMATS) - {"before PyTorch 1.6"}
"""Formats of which one tensor can be read without the others."""


def layers(quick: bool) -> nn.Sequential:
    """A GiB in 64 tensors, or a few KiB."""
    width = 16 if quick else 2048
    return nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(64)))


def largest(model: nn.Module) -> int:
    return max(param.numel() * param.element_size() for param in model.parameters())


def measure_load(form: str, quick: bool, risen: Callable[[Callable[[], object]], int]) -> tuple[int, int]:
    """How far memory rises while a file of this format is loaded into a model, and what its largest tensor takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint")
        FORMATS[form](layers(quick).state_dict(), path)
        # Once before, for what is imported and allocated only once.
        save_zip(nn.Linear(1, 1).state_dict(), Path(folder, "small"))
        for warm_up in ("small", "checkpoint"):
            model = nn.Linear(1, 1) if warm_up == "small" else layers(quick)
            cfg = dict(type="Pretrained", checkpoint=str(Path(folder, warm_up)), strict=True)
            rise = risen(lambda model=model, cfg=cfg: initialize(model, cfg))
    return rise, largest(model)
