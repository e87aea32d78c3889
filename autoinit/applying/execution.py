"""A plan applied to one model: fills and steps in rising precedence, and the report of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..construction import AUTOINIT, Content, Origin, Place, Watch, current_watch, has_memory, plain
from ..layers import is_lazy
from ..modes import without_modes
from ..planning import (
    COPY_OF,
    FILLED,
    KEPT,
    NEVER_WRITTEN,
    OWN,
    PENDING,
    Entry,
    Load,
    Plan,
    RecordedTensor,
    Report,
    ReportEntry,
    Step,
)
from ..sampling import check_seed
from .agreement import check_agreement
from .filling import fill_in
from .lazy import wait
from .lazy_fills import materialized, may_draw
from .loading import Loading, credited, load
from .log import log_report
from .module_code import run_code
from .rollback import put_back_on_error
from .seeds import Values, check_prefix, running, values_for
from .targets import Targets, bind_targets


def apply_plan(
    plan: Plan,
    module: nn.Module,
    *,
    seed: int | None = None,
    root: int = 0,
    prefix: str = "",
    targets: Targets | None = None,
) -> Report:
    """Apply a plan to a model with the same parameters, from outside of what surrounds the call.

    Args:
        plan: Fills and steps, each parameter's fill once.
        module: Model to write to.
        seed: Any integer; None draws one if anything is random.
        root: Index of the model among the roots of its block.
        prefix: Name of the model in a larger one.
        targets: The plan's parameters in the model, if they have been found already.

    Raises:
        MatchError, StateError: the model does not fit the plan; nothing is changed.
        ConfigError: `prefix` is not a module name.
        ApplyError: a user's function or a module's own initialization failed.
    """
    check_prefix(prefix)
    watch = current_watch()
    with without_modes(), watch.aside() if watch is not None else nullcontext():
        application = Application(plan, module, targets or bind_targets(plan, module))
        check_agreement([application], seed)
        return application.apply(seed, root, prefix)


class Application:
    """A plan while it is applied to one model.

    Args:
        plan: Plan of the model.
        module: Root of the model.
        targets: The plan's parameters and modules in the model.

    Attributes:
        outcomes: What has become of each parameter so far, by FQN.
    """

    values: Values

    def __init__(self, plan: Plan, module: nn.Module, targets: Targets) -> None:
        self.plan = _with_shapes(plan, targets)
        self.module = module
        self.targets = targets
        self._loads: list[Loading] = []
        self.forget()

    @property
    def written(self) -> Iterator[Tensor]:
        """The parameters that fills and checkpoints have been written to so far."""
        return (self.targets.params[fqn] for fqn, outcome in self.outcomes.items() if outcome == FILLED)

    @property
    def has_deferred(self) -> bool:
        """Whether a fill has to wait for the shape of its parameter."""
        return any(entry.deferred is not None for entry in self.plan.values())

    def apply(self, seed: int | None, root: int = 0, prefix: str = "") -> Report:
        """Run it, and log the report."""
        self.run(seed, root, prefix)
        report = self.report()
        if running.get() is None:  # A part of a model is in the report of the whole.
            log_report(report)
        return report

    def run(self, seed: int | None = None, root: int = 0, prefix: str = "") -> None:
        """Write fills and run steps, within the modes of the caller.

        Raises:
            ApplyError: a user's function or a module's own initialization failed.
        """
        watch = current_watch()
        if watch is not None:
            watch.flush(tensor for fqn, entry in self.plan.items() if entry.gets_values for tensor in self._stored(fqn))
        self.values = values_for(self.module, check_seed(seed), root, prefix, self.plan.version)
        self.values.targets = self.targets
        token = running.set(self.values)
        try:
            with put_back_on_error([self]) if self.plan.runs_loading_code else nullcontext():
                for due, step in phases(self.plan):
                    for entry in fill_in(due, self.targets, self.values):
                        self.outcomes[entry.fqn] = FILLED
                    self._run_step(step)
        finally:
            running.reset(token)
        self.plan = credited(self.plan, self._loads, self.targets)
        if watch is not None:
            self._note_written(watch)
        for fqn in self.plan.initialized:
            # The original's own account of having run, without which its init_weights would start over.
            self.targets.modules[fqn].__dict__["_is_init"] = True

    def _run_step(self, step: Step | None) -> None:
        if isinstance(step, Load):
            loading = load(step, self.plan, self.targets)
            self._loads.append(loading)
            self.outcomes |= dict.fromkeys(loading.written, FILLED)
        elif step is not None:
            self.outcomes |= run_code(step, self.plan, self.targets)

    def forget(self) -> None:
        """Note that what has been written so far was put back."""
        self.outcomes = {fqn: outcome_before(entry) for fqn, entry in self.plan.items()}

    def report(self) -> Report:
        """The report of what was run; fills that have no shape yet wait, and amend it when they are written."""
        values = self.values
        values.used = values.used or any(map(may_draw, self.plan.values()))
        report = Report(
            model=self.plan.model,
            entries={
                fqn: ReportEntry.of(_loaded(entry, self.targets), self.outcomes[fqn])
                for fqn, entry in self.plan.items()
            },
            seed=values.seed if values.used else None,
            root=values.root,
            version=values.version,
            loads=tuple(loading.step for loading in self._loads),
        )
        wait(report, values, self.targets)
        return report

    def _stored(self, fqn: str) -> Iterator[Tensor]:
        """What this process stores of a parameter, where it has memory."""
        tensors = (plain(tensor) for tensor in self.targets.tensors(fqn) if not is_lazy(tensor))
        return filter(has_memory, tensors)

    def _note_written(self, watch: Watch) -> None:
        """Let the construction record say that the rules have written, and for which block."""
        place = Place.of(sys._getframe(2))
        for fqn, outcome in self.outcomes.items():
            for tensor in self._stored(fqn) if outcome in (FILLED, OWN) else ():
                content = Content(AUTOINIT, (watch.record.writer,), Origin.DATA, place=place, reason="initialized")
                watch.record.note_written(tensor, content)


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


def write_copies(copies: Sequence[RecordedTensor]) -> None:
    """Give the copies of parameters what those hold now, in their own dtypes."""
    watch = current_watch()
    for copy in copies:
        if copy.leader is None:
            continue
        leader, follower = copy.leader.tensor, copy.tensor
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
