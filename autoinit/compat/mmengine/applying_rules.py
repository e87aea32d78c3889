"""Apply rules to one module, without the `init_cfg` and `init_weights` that modules have themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from ...applying import apply_plan, make_plan, targets_of
from ...config import parse_config
from ...errors import ConfigTypeError
from ...initializers import Pretrained
from ...planning import Plan, PlanContext, Planner, Unmatched, check_unmatched, rule_matches, warn_of_conflicts
from ...rules import Rule


def initialize(module: nn.Module, init_cfg: Mapping[str, Any] | list[Mapping[str, Any]]) -> None:
    """Carry out a config on a module and everything below it, and nothing else.

    What modules say themselves (`init_cfg`, `init_weights`) is left to `BaseModule.init_weights`; to have it
    carried out in any model use `autoinit.initialize`.

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
    apply_rules(module, parse_config(init_cfg, padding="fill"), "warn")


def update_init_info(module: nn.Module, init_info: str) -> None:
    """Do nothing: what was done to a parameter is in the plan, and need not be guessed afterwards.

    It is here for code that calls it after a fill of its own. Such a fill shows in reports as the module's
    "own init_weights".

    Args:
        module: any module.
        init_info: what the original would note for parameters whose mean has changed.
    """


def apply_rules(module: nn.Module, rules: Sequence[Rule], unmatched: Unmatched) -> None:
    """Apply rules in their order, checkpoints too; an error in any of them changes nothing."""
    made = [_decide(module, part, unmatched) for part in _parts(rules)]
    targets = [targets_of(planner, plan) for planner, plan in made]
    for (_, plan), target in zip(made, targets, strict=True):
        apply_plan(plan, module, targets=target)


def _parts(rules: Sequence[Rule]) -> Iterator[tuple[Rule, ...]]:
    """Rules up to a checkpoint, those after it, and so on: in one plan the checkpoint would beat what follows it."""
    part: list[Rule] = []
    for rule in rules:
        if part and _loads(part[-1]) and not _loads(rule):
            yield tuple(part)
            part = []
        part.append(rule)
    yield tuple(part)


def _loads(rule: Rule) -> bool:
    return isinstance(rule.initializer, Pretrained)


def _decide(module: nn.Module, rules: tuple[Rule, ...], unmatched: Unmatched) -> tuple[Planner, Plan]:
    planner = Planner(module, [rules], PlanContext(rules_only=True))
    plan = make_plan(planner)
    for match in planner.matches:
        # The one thing that matches nothing and that the original refuses, too.
        if match.missing is not None:
            raise match.missing
    check_unmatched([rule_matches(planner)], unmatched)
    warn_of_conflicts([planner])
    return planner, plan
