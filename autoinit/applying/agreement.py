"""What the ranks of a device mesh have to agree on: the plan for their shards, and a seed that is drawn (S2).

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


def meshes_of(tensors: Iterable[Tensor]) -> list[DeviceMesh]:
    """The device meshes over which tensors are sharded and of which this rank is a part, each once."""
    meshes = dict.fromkeys(tensor.device_mesh for tensor in tensors if is_sharded(tensor))
    return [mesh for mesh in meshes if mesh.get_coordinate() is not None]


def agreed_seed(seed: int, tensors: Iterable[Tensor]) -> int:
    """A seed that was drawn here, or the one of the first rank of the mesh over which tensors are sharded.

    Example:
        >>> import torch
        >>> agreed_seed(3, [torch.zeros(2)])
        3
    """
    for mesh in meshes_of(tensors):
        box = torch.tensor(seed, dtype=torch.int64, device=mesh.device_type)
        for group in mesh.get_all_groups():
            dist.broadcast(box, src=dist.get_global_rank(group, 0), group=group)
        seed = int(box)
    return seed


def check_agreement(applications: Iterable[Application], seed: int | None) -> None:
    """Require that all ranks of each mesh plan the same for the parameters that are sharded over it.

    Args:
        applications: What is compared; nothing, if there is no `DTensor` among its parameters.
        seed: The seed that the user gave.

    Raises:
        StateError: the ranks differ, in a fill or in the seed; on all of them, and nothing is changed.
    """
    sharded = [
        (param.device_mesh, f"{fqn} of model {number}" if number else fqn, entry, each.plan.version)
        for number, each in enumerate(applications)
        for fqn, param in each.targets.params.items()
        if is_sharded(param) and (entry := each.plan.get(fqn)) is not None
    ]
    for mesh in dict.fromkeys(mesh for mesh, *_ in sharded):
        if mesh.get_coordinate() is not None:
            here = [(name, entry, version) for at, name, entry, version in sharded if at == mesh]
            planned = {name: _text(entry) for name, entry, _ in here}
            versions = {version for _, entry, version in here if entry.fill is not None and entry.fill.is_random}
            if versions:
                planned = {"seed": str(seed), "version": ", ".join(map(str, sorted(versions))), **planned}
            _compare(mesh, planned)


def _text(entry: Entry) -> str:
    """What an entry does, in words that are the same in every process."""
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
    names = dict.fromkeys(name for each in everyone for name in each)
    for name in names:
        here, texts = planned.get(name, "nothing"), [each.get(name, "nothing") for each in everyone]
        other = next((text for text in (*texts, *texts[:1]) if text != here), None)
        if other is not None:
            break
    return StateError(
        f"{name}: the ranks that share it plan different things: {here} on this rank, {other} on another. Pass the "
        "same config and seed on every rank of a device mesh, and load the same parameters.",
        fqn=None if name in ("seed", "version") else name,
    )
