"""Agreement of the ranks of a device mesh: on the plan for their shards, and on a seed that is drawn (S2).

Only ranks that hold a `DTensor` of one mesh communicate, over the groups of this mesh; for a model of plain tensors
there is no communication.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch import distributed as dist

from ..errors import StateError
from ..planning import Entry
from .sharding import is_sharded

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from .execution import Application

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def agreed_seed(seed: int, tensors: Iterable[Tensor]) -> int:
    """A seed that was drawn here, or the one of the first rank of the meshes over which the tensors are sharded."""
    meshes: dict[DeviceMesh, None] = {}
    for tensor in tensors:
        if is_sharded(tensor):
            meshes[tensor.device_mesh] = None
    for mesh in meshes:
        if mesh.get_coordinate() is not None:
            box = torch.tensor(seed, dtype=torch.int64, device=mesh.device_type)
            for group in mesh.get_all_groups():
                dist.broadcast(box, src=dist.get_global_rank(group, 0), group=group)
            seed = int(box)
    return seed


def check_agreement(applications: Iterable[Application], seed: int | None) -> None:
    """Require that all ranks of each mesh plan the same for the parameters that are sharded over it.

    Args:
        applications: Plans with their models.
        seed: The seed that the user gave.

    Raises:
        StateError: the ranks differ, in a fill or in the seed; on all of them, and nothing is changed.
    """
    planned: dict[DeviceMesh, dict[str, str]] = {}
    versions: dict[DeviceMesh, set[int]] = {}
    for number, each in enumerate(applications):
        for fqn, param in each.targets.params.items():
            if is_sharded(param) and fqn in each.plan and param.device_mesh.get_coordinate() is not None:
                mesh, entry = param.device_mesh, each.plan[fqn]
                planned.setdefault(mesh, {})[f"{fqn} of model {number}" if number else fqn] = _text(entry)
                if entry.fill is not None and entry.fill.is_random:
                    versions.setdefault(mesh, set()).add(each.plan.version)
    for mesh, texts in planned.items():
        if mesh in versions:
            texts = {"seed": str(seed), "version": ", ".join(map(str, sorted(versions[mesh]))), **texts}
        _compare(mesh, texts)


def _text(entry: Entry) -> str:
    """The decision for a parameter, in words that are the same in every process."""
    if entry.kept or entry.rule is None:
        return "kept"
    if entry.fill is None:
        return type(entry.rule.initializer).__name__
    return ADDRESS.sub("", repr(entry.fill))


def _compare(mesh: DeviceMesh, planned: Mapping[str, str]) -> None:
    digest = hashlib.blake2b(json.dumps(planned).encode(), digest_size=7).digest()
    number = int.from_bytes(digest, "little")
    box = torch.tensor([number, -number], dtype=torch.int64, device=mesh.device_type)
    for group in mesh.get_all_groups():
        dist.all_reduce(box, dist.ReduceOp.MIN, group)
    least, greatest = box.tolist()
    if least != -greatest:
        raise _disagreement(mesh, planned)


def _disagreement(mesh: DeviceMesh, planned: Mapping[str, str]) -> StateError:
    everyone = [planned]
    for group in mesh.get_all_groups():
        lists: list[list[Mapping[str, str]]] = [[] for _ in range(group.size())]
        dist.all_gather_object(lists, everyone, group=group)
        everyone = [each for along in lists for each in along]
    # Every rank names the same parameter: the first on which any two ranks differ.
    names = dict.fromkeys(name for each in everyone for name in each)
    name = next(name for name in names if len({each.get(name, "nothing") for each in everyone}) > 1)
    here = planned.get(name, "nothing")
    other = next(text for each in everyone if (text := each.get(name, "nothing")) != here)
    return StateError(
        f"{name}: the ranks that share it plan different things: {here} on this rank, {other} on another. Pass the "
        "same config and seed on every rank of a device mesh, and load the same parameters.",
        fqn=None if name in ("seed", "version") else name,
    )
