"""Checkpoints copied into the parameters that they won."""

from __future__ import annotations

from collections.abc import Iterator

from ..planning import Load, Plan, tensors_of, unwrapped
from .targets import Targets


def load(step: Load, plan: Plan, targets: Targets) -> Iterator[str]:
    """Copy what a step loads; gives the FQN of each parameter of the plan that was written."""
    module = unwrapped(targets.modules[step.fqn])
    winners = {
        id(tensor): fqn
        for fqn, entry in plan.items()
        if entry.rule is step.rule and not entry.kept
        for tensor in targets.tensors(fqn)
    }
    ours = {id(tensor) for fqn in plan for tensor in targets.tensors(fqn)}
    wanted = tensors_of(module)
    keys = [key for key in step.keys if id(wanted[key]) in winners or id(wanted[key]) not in ours]
    module.load_state_dict(dict(step.checkpoint.tensors(keys)), strict=False)
    for key in keys:
        if id(wanted[key]) in winners:
            yield winners[id(wanted[key])]
