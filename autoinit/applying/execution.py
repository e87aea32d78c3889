"""The one place that writes to parameters."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..construction import AUTOINIT, Content, Origin, Place, current_watch, has_memory, plain
from ..errors import ApplyError, AutoInitError
from ..layers import is_lazy
from ..modes import without_modes
from ..planning import (
    COPY_OF,
    FILLED,
    KEPT,
    NEVER_WRITTEN,
    OWN,
    PENDING,
    Copy,
    Entry,
    Load,
    ModuleCall,
    OwnInit,
    Plan,
    Report,
    ReportEntry,
    Step,
    is_initialized,
    own_arguments,
)
from ..sampling import check_seed
from .agreement import check_agreement
from .filling import fill_in
from .lazy import wait
from .loading import Loading, credited, load
from .log import log_report
from .pending import materialized, may_draw
from .rollback import put_back, put_back_on_error
from .targets import Targets, bind_targets
from .values import being_initialized, check_prefix, running, values_for
from .writes import WriteRecorder


def apply_plan(
    plan: Plan,
    module: nn.Module,
    *,
    seed: int | None = None,
    root: int = 0,
    prefix: str = "",
    targets: Targets | None = None,
) -> Report:
    """Carry out a plan: fills and steps in rising precedence, each parameter's fill once.

    Args:
        plan: of this model or of one with the same parameters.
        module: what to write to.
        seed: any integer, or None to draw one if anything is random.
        root: index of the model among the roots of its block.
        prefix: name of the model in a larger one.
        targets: the plan's parameters in the model, if they have been found already.

    Raises:
        MatchError, StateError: the model does not fit the plan; nothing is changed.
        ConfigError: `prefix` is not a module name.
        ApplyError: a user's function or a module's own initialization failed.
    """
    check_prefix(prefix)
    watch = current_watch()
    with without_modes(), watch.aside() if watch is not None else nullcontext():
        report = execute(plan, module, seed, root, targets or bind_targets(plan, module), prefix)
    if running.get() is None:  # A part of a model is in the report of the whole.
        log_report(report)
    return report


def execute(plan: Plan, module: nn.Module, seed: int | None, root: int, targets: Targets, prefix: str = "") -> Report:
    """`apply_plan` on targets that have been found, without a word to the log and within the modes of the caller."""
    check_agreement([(plan, targets)], seed)
    watch = current_watch()
    if watch is not None:
        watch.flush(tensor for fqn, entry in plan.items() if entry.gets_values for tensor in _stored(targets, fqn))
    values = values_for(module, check_seed(seed), root, prefix, plan.version)
    values.targets = targets
    plan = _with_shapes(plan, targets)
    outcomes = {entry.fqn: outcome_before(entry) for entry in plan.values()}
    token = running.set(values)
    loads: list[Loading] = []
    try:
        with put_back_on_error([(plan, targets)]) if plan.runs_loading_code else nullcontext():
            for phase, step in phases(plan):
                for entry in fill_in(phase, targets, values):
                    outcomes[entry.fqn] = FILLED
                    targets.written.add(entry.fqn)
                if isinstance(step, Load):
                    loads.append(_load(step, plan, targets, outcomes))
                elif step is not None:
                    _run(step, plan, targets, outcomes)
    finally:
        running.reset(token)
    plan = credited(plan, loads)
    if watch is not None:
        place = Place.of(sys._getframe(1))
        for fqn, outcome in outcomes.items():
            if outcome in (FILLED, OWN):
                for tensor in _stored(targets, fqn):
                    content = Content(AUTOINIT, (watch.record.writer,), Origin.DATA, place=place, reason="initialized")
                    watch.record.note_written(tensor, content)
    for fqn in plan.initialized:
        # The original's own account of having run, without which its init_weights would start over.
        targets.modules[fqn].__dict__["_is_init"] = True
    values.used = values.used or any(map(may_draw, plan.values()))
    report = Report(
        model=plan.model,
        entries={fqn: ReportEntry.of(_loaded(entry, targets), outcomes[fqn]) for fqn, entry in plan.items()},
        seed=values.seed if values.used else None,
        root=values.root,
        version=values.version,
        loads=tuple(loading.step for loading in loads),
    )
    wait(report, values, targets)
    return report


def _stored(targets: Targets, fqn: str) -> Iterator[Tensor]:
    """What this process stores of a parameter, where it has memory."""
    return (plain(tensor) for tensor in targets.tensors(fqn) if not is_lazy(tensor) and has_memory(plain(tensor)))


def _with_shapes(plan: Plan, targets: Targets) -> Plan:
    """The plan of a model that was lazy, for one that is not any more."""
    known = {
        fqn: materialized(entry, tuple(targets.params[fqn].shape))
        for fqn, entry in plan.items()
        if entry.deferred is not None and not is_lazy(targets.params[fqn])
    }
    return replace(plan, entries={**plan.entries, **known}) if known else plan


def _loaded(entry: Entry, targets: Targets) -> Entry:
    """The entry of a lazy parameter, with the shape that a checkpoint has given it."""
    param = targets.params[entry.fqn]
    if entry.shape is not None or entry.deferred is not None or is_lazy(param):
        return entry
    return replace(entry, shape=tuple(param.shape))


def write_copies(copies: Sequence[Copy]) -> None:
    """Give the copies of parameters what those hold now, in their own dtypes."""
    watch = current_watch()
    for copy in copies:
        leader, follower = copy.leader.tensor, copy.follower.tensor
        with torch.no_grad(), torch.inference_mode(follower.is_inference()):
            follower.data.copy_(leader.detach())
        content = watch.record.content(leader) if watch is not None else None
        if watch is not None and content is not None:
            watch.record.note_written(follower, content.copy(AUTOINIT, content.place))


def outcome_before(entry: Entry) -> str:
    """What becomes of a parameter that nothing writes to."""
    if entry.deferred is not None:
        return PENDING
    if entry.kept is None:
        return KEPT
    return entry.kept if entry.kept.startswith((COPY_OF, NEVER_WRITTEN)) else f"{KEPT}: {entry.kept}"


def phases(plan: Plan) -> Iterator[tuple[list[Entry], Step | None]]:
    """Fills and steps in rising precedence: what each step has to find filled, then the step."""
    waiting = [entry for entry in plan.values() if entry.fill is not None and entry.kept is None]
    for step in plan.steps:
        due = [entry for entry in waiting if entry.rank < step.rank]
        waiting = [entry for entry in waiting if entry.rank >= step.rank]
        yield due, step
    yield waiting, None


def _load(step: Load, plan: Plan, targets: Targets, outcomes: dict[str, str]) -> Loading:
    loading = load(step, plan, targets)
    outcomes |= dict.fromkeys(loading.written, FILLED)
    targets.written.update(loading.written)
    return loading


def _run(step: OwnInit | ModuleCall, plan: Plan, targets: Targets, outcomes: dict[str, str]) -> None:
    with _explained(step, targets.modules[step.fqn]):
        _run_code(step, plan, targets, outcomes)


def _run_code(step: OwnInit | ModuleCall, plan: Plan, targets: Targets, outcomes: dict[str, str]) -> None:
    kept = {
        tensor: tensor.detach().clone()
        for entry in plan.values()
        if entry.kept not in (None, NEVER_WRITTEN)
        for tensor in targets.tensors(entry.fqn)
        if not is_lazy(tensor)
    }
    watched = [tensor for fqn in plan for tensor in targets.tensors(fqn) if not is_lazy(tensor)]
    recorder, module = WriteRecorder(watched), targets.modules[step.fqn]
    made_for_inference = any(tensor.is_inference() for tensor in module.parameters())
    try:
        with torch.inference_mode() if made_for_inference else nullcontext(), recorder:
            _call(step, module)
    finally:
        # What is kept is kept from code that fails half way, too.
        for tensor, before in kept.items():
            if recorder.wrote(tensor):
                put_back(tensor, before)
    for fqn in plan:
        tensors = [tensor for tensor in targets.tensors(fqn) if not is_lazy(tensor) and tensor not in kept]
        if any(map(recorder.wrote, tensors)):
            outcomes[fqn] = OWN if isinstance(step, OwnInit) else FILLED


def _call(step: OwnInit | ModuleCall, module: nn.Module) -> None:
    if isinstance(step, ModuleCall):
        _call_scheme(step, module)
    elif not is_initialized(module):  # By the step of another module that has it, too.
        _init_weights(module)


@contextmanager
def _explained(step: OwnInit | ModuleCall, module: nn.Module) -> Iterator[None]:
    try:
        yield
    except AutoInitError:
        raise
    except Exception as error:
        name = type(module).__name__
        what = f"{name}.init_weights()" if isinstance(step, OwnInit) else f"{step.rule.origin}: {step.scheme}"
        text = f"{step.fqn or name}: {what} failed: {type(error).__name__}: {error}"
        origin = step.rule.origin if isinstance(step, ModuleCall) else None
        raise ApplyError(text, origin=origin, fqn=step.fqn) from error


def _init_weights(module: nn.Module) -> None:
    token = being_initialized.set(being_initialized.get() | {id(module)})
    try:
        module.init_weights(**own_arguments(module))  # type: ignore[operator]
    finally:
        being_initialized.reset(token)


def _call_scheme(step: ModuleCall, module: nn.Module) -> None:
    # One object may serve a rule, its overrides and other plans: each call has to say which modules it means.
    scheme: Any = step.scheme.function
    if not hasattr(scheme, "wholemodule"):
        scheme(module)
        return
    before, scheme.wholemodule = scheme.wholemodule, step.whole
    try:
        scheme(module)
    finally:
        scheme.wholemodule = before
