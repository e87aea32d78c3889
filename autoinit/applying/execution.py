"""The one place that writes to parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from ..errors import ApplyError, AutoInitError, MatchError, StateError, nearest
from ..planning import (
    FILLED,
    KEPT,
    LOADED,
    OWN,
    PENDING,
    Entry,
    Load,
    ModuleCall,
    OwnInit,
    Plan,
    Report,
    ReportEntry,
    Step,
    tensors_of,
    unwrapped,
    walk,
)
from ..sampling import Key, Sampler, derive_key, fresh_seed
from .log import log_report
from .writes import WriteRecorder


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The parameters and modules of one model, under the names of its plan."""

    params: Mapping[str, Tensor]
    modules: Mapping[str, nn.Module]
    fqns: Mapping[int, str]
    """From the id of a module to its first FQN."""


@dataclass(eq=False, kw_only=True)
class Values:
    """Where the random values of one application come from.

    Args:
        requested: the seed that the user gave.
        root: index of the model among the roots of its block.
        prefix: FQN, in that root, of the module that is being initialized.
    """

    requested: int | None
    root: int = 0
    prefix: str = ""
    targets: Targets | None = field(default=None, repr=False)
    samplers: dict[torch.device, Sampler] = field(default_factory=dict, repr=False)
    used: bool = False

    @cached_property
    def seed(self) -> int:
        """Drawn when the first random value is wanted, and only then (S2)."""
        return fresh_seed() if self.requested is None else self.requested

    def key(self, fqn: str, stream: int) -> Key:
        """The key of a stream of a parameter."""
        self.used = True
        return derive_key(self.seed, self.root, f"{self.prefix}.{fqn}" if self.prefix else fqn, stream)

    def sampler(self, device: torch.device) -> Sampler:
        """One sampler a device, so that its buffers serve all parameters."""
        found = self.samplers.get(device)
        if found is None:
            found = self.samplers[device] = Sampler(device)
        return found


# A module's own init_weights may call back into autoinit for a part of the model: its values then have to be those
# of that part under its name in the whole, or all parts of one kind would get the same.
_running: ContextVar[Values | None] = ContextVar("autoinit_running", default=None)


def values_for(module: nn.Module, requested: int | None, root: int) -> Values:
    """The values for a model, or for a part of one that is being initialized right now."""
    outer = _running.get()
    if outer is None or outer.targets is None or id(module) not in outer.targets.fqns or requested is not None:
        return Values(requested=requested, root=root)
    part = outer.targets.fqns[id(module)]
    prefix = ".".join(filter(None, (outer.prefix, part)))
    outer.used = True
    return Values(requested=outer.seed, root=outer.root, prefix=prefix)


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
                params[node.name(name)] = param
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
    if param.is_meta and entry.rule is not None and not torch.nn.parameter.is_lazy(param):
        raise StateError(
            f"{entry.fqn} is on the meta device and has no memory to fill. Plan on meta; apply the plan to a model "
            "with memory, for example after to_empty(device=...).",
            fqn=entry.fqn,
            origin=entry.origin,
        )


def apply_plan(
    plan: Plan, module: nn.Module, *, seed: int | None = None, root: int = 0, targets: Targets | None = None
) -> Report:
    """Carry out a plan: fills and steps in rising precedence, each parameter's fill once.

    Args:
        plan: of this model or of one with the same parameters.
        module: what to write to.
        seed: any integer, or None to draw one if anything is random.
        root: index of the model among the roots of its block.
        targets: the plan's parameters in the model, if they have been found already.

    Raises:
        MatchError, StateError: the model does not fit the plan; nothing is changed.
        ApplyError: a user's function or a module's own initialization failed.
    """
    report = execute(plan, module, seed, root, targets or bind_targets(plan, module))
    log_report(report)
    return report


def execute(plan: Plan, module: nn.Module, seed: int | None, root: int, targets: Targets) -> Report:
    """`apply_plan` on targets that have been found, without a word to the log."""
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise StateError(f"seed={seed!r} must be an integer or None.")
    values = values_for(module, seed, root)
    values.targets = targets
    outcomes = {entry.fqn: outcome_before(entry) for entry in plan.values()}
    token = _running.set(values)
    try:
        for phase, step in phases(plan):
            for entry in phase:
                _fill(entry, targets.params[entry.fqn], values)
                outcomes[entry.fqn] = FILLED
            if step is not None:
                _run(step, plan, targets, outcomes)
    finally:
        _running.reset(token)
    for fqn in plan.initialized:
        # The original's own account of having run, without which its init_weights would start over.
        targets.modules[fqn].__dict__["_is_init"] = True
    return Report(
        model=plan.model,
        entries={fqn: ReportEntry.of(entry, outcomes[fqn]) for fqn, entry in plan.items()},
        seed=values.seed if values.used else None,
        root=values.root,
        loads=plan.loads,
    )


def outcome_before(entry: Entry) -> str:
    """What becomes of a parameter that nothing writes to."""
    if entry.shape is None and entry.kept:
        return PENDING
    return LOADED if entry.kept == "loaded" else KEPT


def phases(plan: Plan) -> Iterator[tuple[list[Entry], Step | None]]:
    """Fills and steps in rising precedence: what each step has to find filled, then the step."""
    waiting = [entry for entry in plan.values() if entry.fill is not None and entry.kept is None]
    for step in plan.steps:
        due = [entry for entry in waiting if entry.rank < step.rank]
        waiting = [entry for entry in waiting if entry.rank >= step.rank]
        yield due, step
    yield waiting, None


def _fill(entry: Entry, param: Tensor, values: Values) -> None:
    if entry.fill is None:
        return
    try:
        with torch.no_grad():
            entry.fill.write(param.data, lambda stream: values.key(entry.fqn, stream), values.sampler(param.device))
    except AutoInitError:
        raise
    except Exception as error:
        raise ApplyError(
            f"{entry.origin}: {entry.fill} failed on {entry.fqn} of shape {entry.shape}: "
            f"{type(error).__name__}: {error}",
            origin=entry.origin,
            fqn=entry.fqn,
        ) from error
    if not param.is_inference():
        # Written through .data in many pieces; autograd has to see one write, as after torch.nn.init.
        torch.autograd.graph.increment_version(param)


def _run(step: Step, plan: Plan, targets: Targets, outcomes: dict[str, str]) -> None:
    if isinstance(step, Load):
        _load(step, plan, targets, outcomes)
        return
    module = targets.modules[step.fqn]
    before = [entry.fqn for entry in plan.values() if entry.kept is not None]
    kept = {fqn: targets.params[fqn].detach().clone() for fqn in before if outcomes[fqn] != PENDING}
    with WriteRecorder() as recorder:
        _call(step, module)
    for fqn, param in targets.params.items():
        if fqn in kept:
            if recorder.wrote(param):
                param.data.copy_(kept[fqn])
        elif not torch.nn.parameter.is_lazy(param) and recorder.wrote(param):
            outcomes[fqn] = OWN if isinstance(step, OwnInit) else FILLED


def _call(step: OwnInit | ModuleCall, module: nn.Module) -> None:
    name = type(module).__name__
    what = f"{name}.init_weights()" if isinstance(step, OwnInit) else f"{step.rule.origin}: {step.scheme}"
    try:
        if isinstance(step, OwnInit):
            module.init_weights()  # type: ignore[operator]
        else:
            if step.whole:
                step.scheme.function.wholemodule = True  # type: ignore[attr-defined]
            step.scheme.function(module)
    except AutoInitError:
        raise
    except Exception as error:
        text = f"{step.fqn or name}: {what} failed: {type(error).__name__}: {error}"
        origin = step.rule.origin if isinstance(step, ModuleCall) else None
        raise ApplyError(text, origin=origin, fqn=step.fqn) from error


def _load(step: Load, plan: Plan, targets: Targets, outcomes: dict[str, str]) -> None:
    module = unwrapped(targets.modules[step.fqn])
    winners = {
        id(targets.params[fqn]): fqn for fqn, entry in plan.items() if entry.rule is step.rule and not entry.kept
    }
    ours = {id(param) for param in targets.params.values()}
    wanted = tensors_of(module)
    keys = [key for key in step.keys if id(wanted[key]) in winners or id(wanted[key]) not in ours]
    module.load_state_dict(dict(step.checkpoint.tensors(keys)), strict=False)
    for key in keys:
        if id(wanted[key]) in winners:
            outcomes[winners[id(wanted[key])]] = FILLED
