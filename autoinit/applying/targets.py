"""The parameters and modules of one model, under the names of its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import MatchError, StateError, nearest
from ..planning import Entry, Plan, Planner, joined, walk


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The parameters and modules of one model, under the names of its plan."""

    params: Mapping[str, Tensor]
    modules: Mapping[str, nn.Module]
    fqns: Mapping[int, str]
    """From the id of a module to its first FQN."""


def targets_of(planner: Planner, plan: Plan) -> Targets:
    """The targets of a plan that was just made of this model.

    Raises:
        StateError: one that will be written is on the meta device.
    """
    params = {record.fqn: record.param for record in planner.records.values()}
    for fqn, entry in plan.items():
        if entry.rule is not None:
            _check_memory(entry, params[fqn])
    fqns = {id(module): fqn for fqn, module in reversed(planner.modules.items())}
    return Targets(params=params, modules=planner.modules, fqns=fqns)


def bind_targets(plan: Plan, module: nn.Module) -> Targets:
    """Find a plan's parameters in a model.

    Raises:
        MatchError: one is missing, has another shape, or is none of the plan's.
        StateError: one that will be written is on the meta device.
    """
    params: dict[str, Tensor] = {}
    modules: dict[str, nn.Module] = {}
    fqns: dict[int, str] = {}
    seen: set[int] = set()
    for node in walk(module):
        modules[node.fqn] = node.module
        fqns.setdefault(id(node.module), node.fqn)
        for name, param in node.module._parameters.items():
            if param is not None and id(param) not in seen:
                seen.add(id(param))
                params[joined(node.fqn, name)] = param
    for fqn, entry in plan.items():
        _check_target(plan, entry, params.get(fqn), params)
    extra = next((fqn for fqn in params if fqn not in plan), None)
    if extra is not None:
        raise MatchError(
            f"{extra}: this {type(module).__name__} has it, and the plan of {plan.model} does not.", fqn=extra
        )
    return Targets(params=params, modules=modules, fqns=fqns)


def _check_target(plan: Plan, entry: Entry, param: Tensor | None, params: Mapping[str, Tensor]) -> None:
    if param is None:
        hint = nearest(entry.fqn, params)
        raise MatchError(f"{entry.fqn}: the plan of {plan.model} has it, and this model does not.{hint}", fqn=entry.fqn)
    if entry.shape is not None and not torch.nn.parameter.is_lazy(param) and tuple(param.shape) != entry.shape:
        raise MatchError(
            f"{entry.fqn}: the plan of {plan.model} is for shape {entry.shape}, and here it is {tuple(param.shape)}.",
            fqn=entry.fqn,
        )
    if entry.rule is not None:
        _check_memory(entry, param)


def _check_memory(entry: Entry, param: Tensor) -> None:
    if param.is_meta and not torch.nn.parameter.is_lazy(param):
        raise StateError(
            f"{entry.fqn} is on the meta device and has no memory to fill. Plan on meta; apply the plan to a model "
            "with memory, for example after to_empty(device=...).",
            fqn=entry.fqn,
            origin=entry.origin,
        )
