"""The parameters and modules of one model, under the names of its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import Tensor, nn

from .._torch import is_fake
from ..errors import MatchError, StateError, nearest
from ..layers import is_lazy
from ..parametrized import Effective
from ..planning import Entry, Plan, PlanContext, Planner
from .flat_parameters import check_flat_targets
from .sharding import is_sharded, local_of, unknown_layout


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The parameters and modules of one model, under the names of its plan."""

    params: dict[str, Tensor]
    """Of a weight that is computed, the first that is stored."""
    modules: dict[str, nn.Module] = field(default_factory=dict)
    weights: Mapping[str, Effective] = field(default_factory=dict)
    """Those of the parameters that are computed from stored ones, and set through them."""

    @cached_property
    def fqns(self) -> Mapping[int, str]:
        """From the id of a module to its first FQN."""
        return {id(module): fqn for fqn, module in reversed(self.modules.items())}

    def tensors(self, fqn: str) -> tuple[Tensor, ...]:
        """What holds the values of a parameter."""
        weight = self.weights.get(fqn)
        return (self.params[fqn],) if weight is None else tuple(weight.stored.values())


def targets_of(planner: Planner, plan: Plan) -> Targets:
    """The targets of a plan that was just made of this model.

    Raises:
        StateError: one that will be written has no memory (the meta device, a FakeTensor), or which of its elements
            are here is unknown.
    """
    targets = _targets(planner)
    for entry in plan.values():
        _check_memory(entry, targets)
    return targets


def bind_targets(plan: Plan, module: nn.Module) -> Targets:
    """Find a plan's parameters in a model.

    Raises:
        MatchError: one is missing, has another shape, or is none of the plan's.
        StateError: one that will be written has no memory (the meta device, a FakeTensor), or which of its elements
            are here is unknown.
    """
    check_flat_targets(plan, module)
    planner = Planner(module, [], PlanContext(rules_only=True))
    planner.collect()
    found = _targets(planner)
    named = _named_tensors(plan, found)
    targets = replace(found, params={**found.params, **named})
    # A computed weight has another shape than what is stored for it, and a lazy parameter has none.
    shapes = {record.fqn: record.shape_and_dtype()[0] for record in planner.records}
    shapes |= {fqn: None if is_lazy(tensor) else tuple(tensor.shape) for fqn, tensor in named.items()}
    for entry in plan.values():
        _check_target(plan, entry, shapes)
        _check_memory(entry, targets)
    extra = next((fqn for fqn in found.params if fqn not in plan), None)
    if extra is not None:
        raise MatchError(
            f"{extra}: this {type(module).__name__} has it, and the plan of {plan.model} does not.", fqn=extra
        )
    return targets


def _targets(planner: Planner) -> Targets:
    return Targets(
        params={record.fqn: record.param for record in planner.records},
        modules=planner.modules,
        weights={record.fqn: record.weight for record in planner.records if record.weight is not None},
    )


def _named_tensors(plan: Plan, found: Targets) -> dict[str, Tensor]:
    """The buffers, and tensors that are stored for a computed weight, that rules of the plan asked for by name."""
    tensors = {}
    for fqn in plan:
        path, _, name = fqn.rpartition(".")
        module = found.modules.get(path)
        if fqn not in found.params and module is not None:
            tensor = module._buffers.get(name, module._parameters.get(name))
            if tensor is not None:
                tensors[fqn] = tensor
    return tensors


def _check_target(plan: Plan, entry: Entry, shapes: Mapping[str, tuple[int, ...] | None]) -> None:
    if entry.fqn not in shapes:
        hint = nearest(entry.fqn, shapes)
        raise MatchError(f"{entry.fqn}: the plan of {plan.model} has it, and this model does not.{hint}", fqn=entry.fqn)
    shape = shapes[entry.fqn]
    if entry.shape is not None and shape is not None and shape != entry.shape:
        raise MatchError(
            f"{entry.fqn}: the plan of {plan.model} is for shape {entry.shape}, and here it is {shape}.",
            fqn=entry.fqn,
        )


def _check_memory(entry: Entry, targets: Targets) -> None:
    problem = _problem(targets.params[entry.fqn], entry.fqn in targets.weights) if entry.gets_values else None
    if problem is not None:
        raise StateError(f"{entry.fqn} {problem}.", fqn=entry.fqn, origin=entry.origin)


def _problem(param: Tensor, is_computed: bool) -> str | None:
    """Why a parameter cannot be written to, if so."""
    local = local_of(param)
    where = "on the meta device" if local.is_meta else "a FakeTensor" if is_fake(local) else ""
    if where and not is_lazy(param):
        return (
            f"is {where} and has no memory to fill. Plan on meta; apply the plan to a model with memory, for example "
            "after to_empty(device=...)"
        )
    if not is_sharded(param):
        return None
    if is_computed:
        return (
            "is computed from tensors that are spread over ranks, and cannot be set through them. Initialize the "
            "model before it is parallelized, or write rules for what is stored"
        )
    return unknown_layout(param)
