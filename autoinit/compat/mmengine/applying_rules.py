"""Apply rules to one module; the `init_cfg` and `init_weights` of modules are ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from ...applying import apply_plan, make_plan, targets_of
from ...config import parse_config
from ...errors import ConfigTypeError
from ...initializers import Pretrained
from ...planning import Plan, PlanContext, Planner, Unmatched, check_unmatched, rule_matches, warn_of_conflicts
from ...rules import Rule


def initialize(module: nn.Module, init_cfg: Mapping[str, Any] | list[Mapping[str, Any]]) -> None:
    """Apply a config to a module and everything below it, and nothing else.

    The `init_cfg` and `init_weights` of modules are left to `BaseModule.init_weights`; `autoinit.initialize` applies
    them in any model.

    Args:
        module: any module.
        init_cfg: a dict or a list of dicts; a later one wins, over a checkpoint too. A `layer` that matches
            nothing is a warning.

    Raises:
        ConfigTypeError: neither a dict nor a list.
        ConfigError, TargetError, ShapeError, CheckpointError: nothing was changed.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> initialize(layer, dict(type="Constant", val=2, bias=3, layer="Linear"))
        >>> layer.weight.item(), layer.bias.item()
        (2.0, 3.0)
    """
    if not isinstance(init_cfg, (Mapping, list)):
        raise ConfigTypeError(
            f"initialize(): init_cfg={init_cfg!r} is a {type(init_cfg).__name__}, not a dict or a list of dicts.",
            origin="init_cfg",
        )
    apply_rules(module, parse_config(init_cfg, padding="fill", passed=False), "warn")


def update_init_info(module: nn.Module, init_info: str) -> None:
    """Do nothing: a plan knows what was done to a parameter; the original guesses it from a change of the mean.

    A fill of one's own, after which code calls this, shows in reports as the module's "own init_weights".

    Args:
        module: any module.
        init_info: the original's note for parameters whose mean has changed.
    """


def apply_rules(module: nn.Module, rules: Sequence[Rule], unmatched: Unmatched) -> None:
    """Apply rules in their order, checkpoints included; an error in any of them changes nothing."""
    # In one plan a checkpoint would override the rules after it.
    loads = [isinstance(rule.initializer, Pretrained) for rule in rules]
    cuts = [0, *(at for at in range(1, len(rules)) if loads[at - 1] and not loads[at]), len(rules)]
    made = [_plan(module, tuple(rules[start:end]), unmatched) for start, end in pairwise(cuts)]
    targets = [targets_of(planner, plan) for planner, plan in made]
    for (_, plan), target in zip(made, targets, strict=True):
        apply_plan(plan, module, targets=target)


def _plan(module: nn.Module, rules: tuple[Rule, ...], unmatched: Unmatched) -> tuple[Planner, Plan]:
    planner = Planner(module, [rules], PlanContext(rules_only=True))
    plan = make_plan(planner)
    for match in planner.matches:
        # A missing override target is an error in the original too; no other rule without a match is.
        if match.missing is not None:
            raise match.missing
    check_unmatched([rule_matches(planner)], unmatched)
    warn_of_conflicts([planner])
    return planner, plan
