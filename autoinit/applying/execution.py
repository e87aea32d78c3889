"""A plan applied to one model: fills and steps in rising precedence, and the report of them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..construction import AUTOINIT, Content, Place, current_watch, has_memory, plain
from ..layers import is_lazy
from ..modes import without_modes
from ..planning import (
    COPY_OF,
    FILLED,
    KEPT,
    NEVER_WRITTEN,
    PENDING,
    Entry,
    Load,
    Plan,
    Report,
    ReportEntry,
    Reset,
)
from ..sampling import check_seed
from .agreement import check_agreement
from .filling import fill
from .first_call import leave_pending
from .lazy import may_draw, with_shape
from .loading import load
from .module_code import put_back_on_error, reset_layer, run_code
from .seeds import Values, check_prefix, running, values_for
from .targets import Targets, bind_targets

logger = logging.getLogger("autoinit")
"""One INFO line a model, one DEBUG line a parameter; silent unless logging is configured."""
logger.addHandler(logging.NullHandler())


def apply_plan(
    plan: Plan,
    module: nn.Module,
    *,
    seed: int | None = None,
    prefix: str = "",
    targets: Targets | None = None,
    is_model: bool = True,
) -> Report:
    """Apply a plan to a model with the same parameters, outside of the modes that surround the call.

    `targets` are the plan's parameters in the model, if they have been found already; the report of a single layer,
    which is not `is_model`, is not logged.

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
        with put_back_on_error([application]):
            return application.apply(seed, prefix=prefix, is_model=is_model)


class Application:
    """A plan while it is applied to one model; `outcomes` are those of what was written so far, by FQN."""

    def __init__(self, plan: Plan, module: nn.Module, targets: Targets) -> None:
        self.module = module
        self.targets = targets
        self.outcomes: dict[str, str] = {}
        self._loads: list[Load] = []
        shaped = {
            fqn: with_shape(entry, targets.params[fqn], targets.modules[fqn.rpartition(".")[0]])
            for fqn, entry in plan.items()
            if entry.deferred is not None and not is_lazy(targets.params[fqn])  # It was lazy when it was planned.
        }
        self.plan = replace(plan, entries={**plan.entries, **shaped}) if shaped else plan

    def memory(self, fqns: Iterable[str]) -> Iterator[Tensor]:
        """What this process stores of some parameters, where it has memory."""
        for fqn in fqns:
            for tensor in self.targets.tensors(fqn):
                if not is_lazy(tensor) and has_memory(plain(tensor)):
                    yield plain(tensor)

    def apply(self, seed: int | None, root: int = 0, prefix: str = "", *, is_model: bool = True) -> Report:
        """Write fills and run steps, within the modes of the caller.

        Raises:
            ApplyError: a user's function or a module's own initialization failed.
        """
        watch = current_watch()
        if watch is not None:
            watch.flush(self.memory(fqn for fqn, entry in self.plan.items() if entry.gets_values))
        values = values_for(self.module, self.targets, check_seed(seed), root, prefix, self.plan.version)
        token = running.set(values)
        try:
            self._run(values)
        finally:
            running.reset(token)
        if watch is not None:
            place = Place.of(sys._getframe())
            for fqn in self.outcomes:
                writer = (watch.record.writer, self.plan[fqn].rule)  # The rule is for a trace.
                content = Content(AUTOINIT, writer, True, place=place, reason="initialized")
                for tensor in self.memory([fqn]):
                    watch.record.note_written(tensor, content)
        for fqn in self.plan.initialized:
            # By this flag OpenMMLab's init_weights knows that it has run.
            self.targets.modules[fqn].__dict__["_is_init"] = True
        report = self._report(values)
        if is_model and report and running.get() is None:  # A part of a model is in the report of the whole.
            logger.info("%s: %s", report.model, report.caption)
            for entry in report.values() if logger.isEnabledFor(logging.DEBUG) else ():
                logger.debug("%s - %s: %s [%s] %s", entry.fqn, entry.shape, entry.outcome, entry.origin, entry.gets)
        return report

    def _run(self, values: Values) -> None:
        pending = list(self.plan.values())
        for step in self.plan.steps:
            # What a step outranks is filled before it.
            fill((entry for entry in pending if entry.rank < step.rank), self.targets, values, self.outcomes)
            pending = [entry for entry in pending if entry.rank >= step.rank]
            if isinstance(step, Load):
                done, loaded = load(step, self.plan, self.targets)
                self._loads.append(done)
                self.plan = replace(self.plan, entries={**self.plan.entries, **loaded})
                self.outcomes |= dict.fromkeys(loaded, FILLED)
            elif isinstance(step, Reset):
                self.outcomes |= reset_layer(step, self.targets, values)
            else:
                self.outcomes |= run_code(step, self.plan, self.targets)
        fill(pending, self.targets, values, self.outcomes)

    def _report(self, values: Values) -> Report:
        """The report; fills that have no shape yet are left pending, and amend it when they are written."""
        entries, pending = {}, []
        for fqn, entry in self.plan.items():
            if entry.deferred is not None:
                pending.append(entry)
                values.used = values.used or may_draw(entry)
            elif entry.shape is None and not is_lazy(self.targets.params[fqn]):  # A checkpoint gave it the shape.
                entry = replace(entry, shape=tuple(self.targets.params[fqn].shape))
            entries[fqn] = ReportEntry.of(entry, self.outcomes.get(fqn) or _outcome(entry))
        report = Report(
            model=self.plan.model,
            entries=entries,
            seed=values.seed if values.used else None,
            root=values.root,
            version=values.version,
            loads=tuple(self._loads),
        )
        if pending:
            leave_pending(pending, report, values, self.targets)
        return report


def _outcome(entry: Entry) -> str:
    """What became of a parameter that nothing has written to."""
    if entry.deferred is not None:
        return PENDING
    if entry.kept is None:
        return KEPT
    return entry.kept if entry.kept.startswith((COPY_OF, NEVER_WRITTEN)) else f"{KEPT}: {entry.kept}"


def write_copy(source: Tensor, copy: Tensor) -> None:
    """Give the copy of a parameter the values that this has now, in its own dtype."""
    watch = current_watch()
    with torch.no_grad(), torch.inference_mode(copy.is_inference()):
        copy.data.copy_(source.detach())
    content = watch.record.content(source) if watch is not None else None
    if watch is not None and content is not None:
        watch.record.note_written(copy, content.copy(AUTOINIT, content.place))
