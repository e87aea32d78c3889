"""A model that exists already: planned, and initialized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from ..config import Config, parse_config
from ..errors import ConfigTypeError
from ..modes import without_modes
from ..planning import (
    Fan,
    Node,
    OwnInitMode,
    Plan,
    PlanContext,
    Planner,
    Policy,
    Report,
    Unmatched,
    check_coverage,
    check_unmatched,
    planned,
    rule_matches,
    warn_of_conflicts,
)
from ..rules import Rule
from ..sampling import VERSION
from .execution import apply_plan
from .module_code import being_initialized
from .seeds import check_prefix
from .targets import check_flat_parameters, targets_of


def make_plan(planner: Planner) -> Plan:
    """The plan of a planner, which `apply_plan` applies.

    Raises:
        StateError: FSDP1 keeps a parameter that a rule selects in a flat parameter.
    """
    with without_modes():
        planner.collect()
        # First: a rule may not fit only because a shard has another shape than its parameter.
        check_flat_parameters(planner.root, lambda node, name: _selecting(planner, node))
        return planned(planner, apply_plan)


def _selecting(planner: Planner, node: Node) -> str | None:
    """Where a rule is written that selects a module, if any."""
    selecting = (m.rule.origin for m in planner.matches if m.selects_class(type(node.module)) and m.selects_node(node))
    return next(selecting, None)


def decide(
    module: nn.Module,
    configs: Sequence[tuple[Rule, ...]],
    policy: Policy,
    surroundings: PlanContext | None = None,
) -> tuple[Plan, Planner]:
    """Plan one model; raise or warn about rules that match nothing and parameters that no rule covers."""
    given = surroundings or PlanContext(running=being_initialized.get())
    planner = Planner(module, configs, replace(given, policy=policy))
    made = make_plan(planner)
    check_unmatched([rule_matches(planner)], policy.unmatched)
    check_coverage([made], policy)
    warn_of_conflicts([planner])
    return made, planner


def check_module(module: object, caller: str, cfg: object = None) -> None:
    """Require a model; `cfg` is the argument after it.

    Raises:
        ConfigTypeError: anything else.
    """
    if not isinstance(module, nn.Module):
        remedy = f" The model comes first: {caller}(model, cfg)." if isinstance(cfg, nn.Module) else ""
        text = f"{caller}(): {module!r} is a {type(module).__name__}, not a torch.nn.Module.{remedy}"
        raise ConfigTypeError(text)


def plan(
    module: nn.Module,
    cfg: Config = None,
    *,
    unmatched: Unmatched = "auto",
    fan: Fan = "auto",
    own_init: OwnInitMode = "auto",
    version: int = VERSION,
    require_coverage: bool = False,
    allow_uncovered: Sequence[str] = (),
) -> Plan:
    """What `initialize(module, cfg)` would do, decided and not done. Works on the meta device.

    Args:
        module: Any model.
        cfg: A dict, a list of dicts, the path of a YAML, JSON or TOML file, or `Rule` objects; None for the modules'
            own `init_cfg` alone.
        unmatched: What to do about rules that select nothing: "auto", "error", "warn" or "ignore".
        fan: How fans are read where a rule does not say: "torch" as `torch.nn.init` does, "layer" by the convention of
            each layer, "auto" the former for OpenMMLab's schemes and the latter for all others.
        own_init: Whether to call modules' own `init_weights()`: "auto" as OpenMMLab does (the module, or one above it,
            derives from `BaseModule`), "run" in any case, "skip" never.
        version: Definition of random values; 1 gives those of a report with `version` 1.
        require_coverage: Whether a parameter that no rule covers is an error.
        allow_uncovered: Globs over the FQNs of parameters that need not be covered.

    Raises:
        ConfigError, MatchError, CoverageError, ShapeError, ParametrizationError, CheckpointError: see their texts;
            they carry `.origin` and `.fqn`.

    Example:
        >>> import torch
        >>> from autoinit import plan
        >>> with torch.device("meta"):
        ...     model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
        >>> decided = plan(
        ...     model,
        ...     [
        ...         dict(type="Kaiming", layer="Conv2d"),
        ...         dict(type="Constant", val=1, layer="_BatchNorm"),
        ...     ],
        ... )
        >>> print(decided)
        Plan of Sequential
        parameter  shape          fill                          fans                   rule
        ---------  -------------  ----------------------------  ---------------------  -----------
        0.weight   8 x 3 x 3 x 3  Normal(mean=0, std=0.166667)  in 27, out 72 (torch)  init_cfg[0]
        0.bias     8              Constant(value=0)                                    init_cfg[0]
        1.weight   8              Constant(value=1)                                    init_cfg[1]
        1.bias     8              Constant(value=0)                                    init_cfg[1]
        4 of 4 parameters covered
    """
    check_module(module, "plan", cfg)
    policy = Policy(
        unmatched=unmatched,
        fan=fan,
        own_init=own_init,
        version=version,
        require_coverage=require_coverage,
        allow_uncovered=allow_uncovered,
    )
    return decide(module, [parse_config(cfg)], policy)[0]


def initialize(
    module: nn.Module,
    cfg: Config = None,
    *,
    seed: int | None = None,
    prefix: str = "",
    unmatched: Unmatched = "auto",
    fan: Fan = "auto",
    own_init: OwnInitMode = "auto",
    version: int = VERSION,
    require_coverage: bool = False,
    allow_uncovered: Sequence[str] = (),
) -> Report:
    """Initialize a model that exists already, in place.

    Args:
        module: Any model.
        cfg: See `plan`.
        seed: Any integer fixes every value; None draws one from torch's default generator, if anything is random.
        prefix: Name of the module in a larger model. Values depend on parameter names, so two parts with the same
            seed differ if their prefixes do, and a part gets the values that it has in the larger model.
        unmatched: What to do about rules that select nothing: "auto", "error", "warn" or "ignore".
        fan: How fans are read where a rule does not say: "auto", "layer" or "torch"; see `plan`.
        own_init: Whether to call modules' own `init_weights()`: "auto", "run" or "skip"; see `plan`.
        version: Definition of random values; 1 gives those of a report with `version` 1.
        require_coverage: Whether a parameter that no rule covers is an error.
        allow_uncovered: Globs over the FQNs of parameters that need not be covered.

    Returns:
        The executed plan.

    Raises:
        ConfigError, MatchError, ShapeError, ParametrizationError, CheckpointError, StateError: nothing was changed.
        ApplyError: a user's function or a module's own `init_weights` failed.

    Example:
        >>> import torch
        >>> from autoinit import initialize
        >>> layer = torch.nn.Linear(2, 2)
        >>> initialize(layer, dict(type="Constant", val=0.5, layer="Linear", bias=None))[
        ...     "bias"
        ... ].outcome
        'kept'
        >>> layer.weight.tolist()
        [[0.5, 0.5], [0.5, 0.5]]
        >>> model, cfg = torch.nn.ModuleDict({"head": layer}), dict(type="Normal", layer="Linear")
        >>> _ = initialize(model, cfg, seed=0)
        >>> in_model = layer.weight.tolist()
        >>> _ = initialize(layer, cfg, seed=0, prefix="head")
        >>> layer.weight.tolist() == in_model
        True
    """
    check_module(module, "initialize", cfg)
    check_prefix(prefix)
    policy = Policy(
        unmatched=unmatched,
        fan=fan,
        own_init=own_init,
        version=version,
        require_coverage=require_coverage,
        allow_uncovered=allow_uncovered,
    )
    made, planner = decide(module, [parse_config(cfg)], policy)
    return apply_plan(made, module, seed=seed, prefix=prefix, targets=targets_of(planner, made))
