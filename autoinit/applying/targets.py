"""The parameters and modules of one model, under the names of its plan, and whether they can be written."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from .._torch import is_fake
from ..errors import MatchError, StateError, nearest
from ..layers import is_lazy
from ..parametrized import Effective
from ..planning import Entry, Node, Plan, PlanContext, Planner, joined, walk
from .sharding import is_sharded, local_of, unknown_layout


@dataclass(frozen=True)
class Targets:
    """The parameters and modules of one model by FQN, with the parametrized weights, set through what is stored.

    The parameter of a parametrized weight is the first tensor that is stored for it.
    """

    params: dict[str, Tensor]
    modules: dict[str, nn.Module]
    weights: Mapping[str, Effective]

    @cached_property
    def fqns(self) -> Mapping[int, str]:
        """First FQN of each module, by its id."""
        return {id(module): fqn for fqn, module in reversed(self.modules.items())}

    def tensors(self, fqn: str) -> tuple[Tensor, ...]:
        """The tensors that hold the values of a parameter."""
        weight = self.weights.get(fqn)
        return (self.params[fqn],) if weight is None else tuple(weight.stored.values())


def targets_of(planner: Planner, plan: Mapping[str, Entry]) -> Targets:
    """The targets of a plan that was just made of this model.

    Raises:
        StateError: a parameter that would be written has no memory (on the meta device, or a FakeTensor), or its
            sharding is unknown.
    """
    params = {record.fqn: record.param for record in planner.records}
    weights = {record.fqn: record.weight for record in planner.records if record.weight is not None}
    targets = Targets(params, planner.modules, weights)
    for entry in plan.values():
        if entry.gets_values:
            _check_writable(entry, targets)
    return targets


def bind_targets(plan: Plan, module: nn.Module) -> Targets:
    """Find a plan's parameters in a model.

    Raises:
        MatchError: a parameter is missing, has another shape, or is not in the plan.
        StateError: see `targets_of`.
    """
    by_rule = {fqn: entry.origin for fqn, entry in plan.items() if entry.gets_values}
    check_flat_parameters(module, lambda node, name: by_rule.get(joined(node.fqn, name)))
    planner = Planner(module, [], PlanContext(rules_only=True))
    planner.collect()
    targets = targets_of(planner, {})
    # A parametrized weight has another shape than what is stored for it, and a lazy parameter has none.
    shapes = {record.fqn: record.shape_and_dtype()[0] for record in planner.records}
    for fqn, entry in plan.items():
        if fqn not in shapes:
            # A buffer, or a tensor that is stored for a parametrized weight, which a rule of the plan asked for.
            path, _, name = fqn.rpartition(".")
            owner = targets.modules.get(path)
            tensor = None if owner is None else owner._buffers.get(name, owner._parameters.get(name))
            if tensor is None:
                hint = nearest(fqn, shapes)
                raise MatchError(f"{fqn}: the plan of {plan.model} has it, and this model does not.{hint}", fqn=fqn)
            targets.params[fqn] = tensor
            shapes[fqn] = None if is_lazy(tensor) else tuple(tensor.shape)
        shape = shapes[fqn]
        if entry.shape is not None and shape is not None and shape != entry.shape:
            raise MatchError(
                f"{fqn}: the plan of {plan.model} is for shape {entry.shape}, and here it is {shape}.", fqn=fqn
            )
        if entry.gets_values:
            _check_writable(entry, targets)
    unknown = next((fqn for fqn in targets.params if fqn not in plan), None)
    if unknown is not None:
        text = f"{unknown}: this {type(module).__name__} has it, and the plan of {plan.model} does not."
        raise MatchError(text, fqn=unknown)
    return targets


def _check_writable(entry: Entry, targets: Targets) -> None:
    param = targets.params[entry.fqn]
    local = local_of(param)
    where = "on the meta device" if local.is_meta else "a FakeTensor" if is_fake(local) else ""
    problem = None
    if where and not is_lazy(param):
        problem = (
            f"is {where} and has no memory to fill. Plan on meta; apply the plan to a model with memory, for example "
            "after to_empty(device=...)"
        )
    elif local is not param and entry.fqn in targets.weights:
        problem = (
            "is computed from tensors that are spread over ranks, and cannot be set through them. Initialize the "
            "model before it is parallelized, or write rules for what is stored"
        )
    elif is_sharded(param):
        problem = unknown_layout(param)
    if problem is not None:
        raise StateError(f"{entry.fqn} {problem}.", fqn=entry.fqn, origin=entry.origin)


def check_flat_parameters(root: nn.Module, origin_of: Callable[[Node, str], str | None]) -> None:
    """Require that no rule selects a parameter that `FullyShardedDataParallel` (FSDP1) keeps in a flat parameter.

    A shard of a flat parameter holds elements of several parameters, or a piece of one without its shape. The
    attributes read here are private to torch and have been the same since 2.0; FSDP1 is deprecated.

    Args:
        root: Model.
        origin_of: From a module and the name of its parameter to where the rule is written that selects it, if any.

    Raises:
        StateError: a rule does. Nothing is changed.
    """
    fsdp: Any = sys.modules.get("torch.distributed.fsdp")
    # A program that wraps a model has imported it; other models are not walked.
    if fsdp is None or not any(getattr(param, "_fsdp_flattened", False) for param in root.parameters()):
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
            if getattr(param, "_is_flat_param", False) or (sharded[-1] and getattr(param, "_fsdp_flattened", False)):
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
