"""The parameters and modules of one model, under the names of its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from .._torch import is_fake
from ..errors import MatchError, StateError, nearest
from ..layers import is_lazy
from ..parametrized import Effective
from ..planning import Entry, Plan, PlanContext, Planner, joined
from .flat_parameters import check_flat_parameters
from .sharding import is_sharded, unknown_layout


@dataclass(frozen=True)
class Targets:
    """The parameters and modules of one model, under the names of its plan.

    Args:
        params: Parameters by FQN; of a parametrized weight the first tensor that is stored for it.
        modules: Modules by FQN.
        weights: Parametrized weights, which are set through the tensors that are stored for them.
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
    params, weights = {}, {}
    for record in planner.records:
        params[record.fqn] = record.param
        if record.weight is not None:
            weights[record.fqn] = record.weight
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
    check_flat_parameters(module, lambda node, name: _origin(plan.get(joined(node.fqn, name))))
    planner = Planner(module, [], PlanContext(rules_only=True))
    planner.collect()
    targets = targets_of(planner, {})
    # A parametrized weight has another shape than what is stored for it, and a lazy parameter has none.
    shapes = {record.fqn: record.shape_and_dtype()[0] for record in planner.records}
    for fqn, entry in plan.items():
        tensor = _named_tensor(fqn, targets) if fqn not in shapes else None
        if tensor is not None:
            targets.params[fqn] = tensor
            shapes[fqn] = None if is_lazy(tensor) else tuple(tensor.shape)
        elif fqn not in shapes:
            hint = nearest(fqn, shapes)
            raise MatchError(f"{fqn}: the plan of {plan.model} has it, and this model does not.{hint}", fqn=fqn)
        shape = shapes[fqn]
        if entry.shape is not None and shape is not None and shape != entry.shape:
            raise MatchError(
                f"{fqn}: the plan of {plan.model} is for shape {entry.shape}, and here it is {shape}.", fqn=fqn
            )
        if entry.gets_values:
            _check_writable(entry, targets)
    for fqn in targets.params:
        if fqn not in plan:
            name = type(module).__name__
            raise MatchError(f"{fqn}: this {name} has it, and the plan of {plan.model} does not.", fqn=fqn)
    return targets


def _origin(entry: Entry | None) -> str | None:
    return entry.origin if entry is not None and entry.gets_values else None


def _named_tensor(fqn: str, targets: Targets) -> Tensor | None:
    """A buffer, or a tensor that is stored for a parametrized weight, which a rule of the plan asked for by name."""
    path, _, name = fqn.rpartition(".")
    module = targets.modules.get(path)
    return None if module is None else module._buffers.get(name, module._parameters.get(name))


def _check_writable(entry: Entry, targets: Targets) -> None:
    param = targets.params[entry.fqn]
    local = param._local_tensor if is_sharded(param) else param
    where = "on the meta device" if local.is_meta else "a FakeTensor" if is_fake(local) else ""
    problem = None
    if where and not is_lazy(param):
        problem = (
            f"is {where} and has no memory to fill. Plan on meta; apply the plan to a model with memory, for example "
            "after to_empty(device=...)"
        )
    elif is_sharded(param) and entry.fqn in targets.weights:
        problem = (
            "is computed from tensors that are spread over ranks, and cannot be set through them. Initialize the "
            "model before it is parallelized, or write rules for what is stored"
        )
    elif is_sharded(param):
        problem = unknown_layout(param)
    if problem is not None:
        raise StateError(f"{entry.fqn} {problem}.", fqn=entry.fqn, origin=entry.origin)
