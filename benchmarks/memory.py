"""How far the process's memory rises, each case in a process of its own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from autoinit import autoinit, initialize, plan, verify

from .planning import meta_model
from .processes import alone
from .resident import MIB, own_bytes, risen, status
from .rows import Row
from .schemes import VIT_CFG
from .subjects import vit

State = Mapping[str, Tensor]
Save = Callable[[State, Path], None]

SHARDS = 4
# Over the model's own bytes.
GOAL_SHARE, GOAL_MIB = 0.02, 64.0
# Over the largest tensor of a checkpoint.
GOAL_MIB_OF_LOADING = 8.0


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


class Rise(NamedTuple):
    """Bytes that a call took at its peak, beside bytes to compare them with."""

    peak: int
    own: int


def rows(quick: bool = False) -> Iterator[Row]:
    """Initialization over the bytes of the model, loading over one tensor, and a plan over the model."""
    for case, (label, reference, goal) in CASES.items():
        rise = alone(measure, case, quick)
        ours, own = max(rise.peak, 1) / MIB, rise.own / MIB
        at_most = goal(own) if goal else None
        yield Row(
            **dict(bench="memory", case=label, ours=ours, reference=reference, theirs=own, unit="MiB"),
            **dict(at_most=at_most, goal_for_ours=goal is not None),
        )


def of_the_model(own: float) -> float:
    return GOAL_SHARE * own + GOAL_MIB


Goal = Callable[[float], float]
OWN = "the model's own bytes"
CASES: dict[str, tuple[str, str, Goal | None]] = {
    "initialize": ("initialize(vit_b_16), peak beyond the model", OWN, of_the_model),
    "block": ("with autoinit(cfg): vit_b_16(), peak beyond the model", OWN, of_the_model),
    "verify": ("verify(vit_b_16, report), peak beyond the model", OWN, lambda own: GOAL_MIB),
    "plan": ("plan of 1,000,000 parameters on meta", "the model, which is all objects", None),
}
for form in FORMATS:
    loading: Goal | None = (lambda own: own + GOAL_MIB_OF_LOADING) if form in ONE_TENSOR else None
    CASES[f"load {form}"] = (f"Pretrained, 1 GiB, {form}: peak beyond the model", "the largest tensor", loading)


def measure_load(form: str, quick: bool) -> Rise:
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
    return Rise(rise, max(param.numel() * param.element_size() for param in model.parameters()))


def measure(case: str, quick: bool) -> Rise:
    warm_up()
    if case.startswith("load "):
        return measure_load(case.removeprefix("load "), quick)
    if case == "initialize":
        model = vit("vit_b_16", quick)
        return Rise(risen(lambda: initialize(model, VIT_CFG)), own_bytes(model))
    if case == "verify":
        model = vit("vit_b_16", quick)
        report = initialize(model, VIT_CFG)
        verify(nn.Linear(8, 8), dict(type="Normal", layer="Linear"))  # scipy is no part of it.
        return Rise(risen(lambda: verify(model, report)), own_bytes(model))
    if case == "block":
        vit("vit_b_16", quick=True)
        kept: list[nn.Module] = []

        def build() -> None:
            with autoinit(VIT_CFG):
                kept.append(vit("vit_b_16", quick))

        rise = risen(build)
        return Rise(rise - own_bytes(kept[0]), own_bytes(kept[0]))
    before = status("VmRSS")
    model = meta_model(1_000 if quick else 1_000_000)
    own = status("VmRSS") - before
    return Rise(risen(lambda: plan(model, VIT_CFG, unmatched="ignore")), max(own, 1))


def warm_up() -> None:
    model = nn.Sequential(nn.Linear(1024, 1024), nn.Conv2d(1, 1, 1), nn.LayerNorm(1))
    initialize(model, VIT_CFG)
