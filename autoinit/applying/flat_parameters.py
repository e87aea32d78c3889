"""Parameters that `FullyShardedDataParallel` (FSDP1) keeps in flat parameters: they are refused.

A shard of a flat parameter holds elements of several parameters, or a piece of one without its shape. The attributes
read here are private to torch and have been the same since 2.0; FSDP1 is deprecated.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from torch import nn

from ..errors import StateError
from ..planning import Node, joined, walk


def check_flat_parameters(root: nn.Module, origin_of: Callable[[Node, str], str | None]) -> None:
    """Require that no rule selects a parameter that FSDP1 keeps in a flat one.

    Args:
        root: Model.
        origin_of: From a module and the name of its parameter to where the rule is written that selects it, if any.

    Raises:
        StateError: a rule does. Nothing is changed.
    """
    fsdp: Any = sys.modules.get("torch.distributed.fsdp")
    # A program that wraps a model has imported it; other models are not walked.
    if fsdp is None or not any(map(_is_flattened, root.parameters())):
        return
    names: dict[int, list[str]] = defaultdict(list)
    sharded = [True]  # A wrapper above the root is not seen.
    for node in walk(root):
        del sharded[node.depth + 1 :]
        sharded.append(sharded[-1])
        if isinstance(node.module, fsdp.FullyShardedDataParallel):
            sharded[-1] = node.module.sharding_strategy is not fsdp.ShardingStrategy.NO_SHARD
        flat = []
        for name, param in node.module._parameters.items():
            for info in getattr(param, "_param_infos", None) or ():
                names[id(info.module)].append(info.param_name)
            # With `use_orig_params=True` NO_SHARD leaves parameters their shapes, and they can be filled.
            if getattr(param, "_is_flat_param", False) or (sharded[-1] and _is_flattened(param)):
                flat.append(name)
        for name in (*flat, *names[id(node.module)]):
            origin, fqn = origin_of(node, name), joined(node.fqn, name)
            if origin is not None:
                raise StateError(
                    f"{fqn} is kept in a flat parameter by FullyShardedDataParallel, which shards it without its "
                    "shape. Initialize the model before it is wrapped, or shard it with "
                    "torch.distributed.fsdp.fully_shard.",
                    fqn=fqn,
                    origin=origin or None,
                )


def _is_flattened(param: nn.Parameter | None) -> bool:
    return getattr(param, "_fsdp_flattened", False)
