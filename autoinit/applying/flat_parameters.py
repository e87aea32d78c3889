"""Parameters that `FullyShardedDataParallel` (FSDP1) keeps in flat parameters: they are refused.

A shard of a flat parameter holds elements of several parameters, or a piece of one without its shape. The attributes
read here are private to torch and have been the same since 2.0; FSDP1 is deprecated.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from torch import nn

from ..errors import StateError
from ..planning import Node, Plan, Planner, joined, walk


def check_flat_parameters(planner: Planner) -> None:
    """Require that rules select no module with a parameter that FSDP1 keeps in a flat one.

    Raises:
        StateError: a rule does. Nothing is changed.
    """
    for node, name in flat_parameters(planner.root):
        for match in planner.matches:
            if match.selects_class(type(node.module)) and match.selects_node(node):
                raise _refusal(joined(node.fqn, name), match.rule.origin)


def check_flat_targets(plan: Plan, module: nn.Module) -> None:
    """Require that a plan gives values to no parameter of a model that FSDP1 keeps in a flat one.

    Raises:
        StateError: it does. Nothing is changed.
    """
    for node, name in flat_parameters(module):
        entry = plan.get(joined(node.fqn, name))
        if entry is not None and entry.gets_values:
            raise _refusal(entry.fqn, entry.origin)


def flat_parameters(root: nn.Module) -> Iterator[tuple[Node, str]]:
    """The modules whose parameters FSDP1 has sharded, with the name of each parameter."""
    fsdp: Any = sys.modules.get("torch.distributed.fsdp")
    # A program that wraps a model has imported it, and others need no second walk.
    if fsdp is None or not any(map(_is_flattened, root.parameters())):
        return
    names: dict[int, list[str]] = defaultdict(list)
    # Above the root may be a wrapper that is not seen.
    sharded = [True]
    for node in walk(root):
        del sharded[node.depth + 1 :]
        sharded.append(sharded[-1])
        if isinstance(node.module, fsdp.FullyShardedDataParallel):
            sharded[-1] = node.module.sharding_strategy is not fsdp.ShardingStrategy.NO_SHARD
        for name, param in node.module._parameters.items():
            for info in getattr(param, "_param_infos", None) or ():
                names[id(info.module)].append(info.param_name)
            # With `use_orig_params=True` NO_SHARD leaves parameters their shapes, and they can be filled.
            if getattr(param, "_is_flat_param", False) or (sharded[-1] and _is_flattened(param)):
                yield node, name
        for name in names[id(node.module)]:
            yield node, name


def _is_flattened(param: nn.Parameter | None) -> bool:
    return getattr(param, "_fsdp_flattened", False)


def _refusal(fqn: str, origin: str) -> StateError:
    return StateError(
        f"{fqn} is kept in a flat parameter by FullyShardedDataParallel, which shards it without its shape. Initialize "
        "the model before it is wrapped, or shard it with torch.distributed.fsdp.fully_shard.",
        fqn=fqn,
        origin=origin or None,
    )
