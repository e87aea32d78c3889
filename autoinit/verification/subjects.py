"""The parameters of a model, each with what it was to get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..applying import Targets, bind_targets, decide, is_sharded, targets_of
from ..config import Config, parse_config
from ..errors import StateError
from ..fills import Blocks, Custom, Fill, Orthogonal, Padded, Sparse
from ..layers import is_lazy
from ..planning import KEPT, OWN, Entry, Plan, PlanContext, Policy, Report, ReportEntry

Asked = Plan | Report | Config
"""What says what a model was to get; None for nothing."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One parameter, and what it was to get.

    Args:
        entry: of the plan.
        fill: what is tested; None if nothing is known of the values.
        reason: why nothing is known, or an empty string.
        targets: where its values are.
    """

    entry: Entry
    fill: Fill | None
    reason: str
    targets: Targets

    @property
    def slack(self) -> float:
        """How much rounding changes values that forward computes from stored ones, relative to them."""
        return 0.0 if self.entry.fqn not in self.targets.weights else 16 * torch.finfo(self.entry.dtype).eps

    @property
    def has_values(self) -> bool:
        """Whether there is anything to look at."""
        param = self.targets.params[self.entry.fqn]
        numbers = self.entry.dtype.is_floating_point or self.entry.dtype.is_complex
        return numbers and not is_lazy(param) and not param.is_meta and param.layout == torch.strided

    def values(self) -> Tensor:
        """As forward uses them; of a sharded parameter the whole, for which all ranks have to ask."""
        weight = self.targets.weights.get(self.entry.fqn)
        with torch.no_grad():
            value = self.targets.params[self.entry.fqn] if weight is None else weight.get()
            return value.full_tensor().detach() if is_sharded(value) else value.detach()

    def regions(self, values: Tensor) -> Iterator[tuple[Fill, Tensor]]:
        """The parts of the values that have a fill of their own."""
        if isinstance(self.fill, Blocks) or (isinstance(self.fill, Padded) and self.fill.is_random):
            yield from self.fill.pieces(values)
        elif self.fill is not None:
            yield self.fill, values

    def without_padding(self, values: Tensor) -> Sequence[Tensor]:
        """The values without the rows that an embedding has for padding."""
        if not isinstance(self.fill, Padded):
            return (values,)
        return tuple(part for fill, part in self.fill.pieces(values) if fill is self.fill.fill)


def subjects(module: nn.Module, what: Asked, policy: Policy) -> tuple[Sequence[Subject], str]:
    """Every parameter of a model once, and what the model is called.

    Raises:
        AutoInitError: what `plan` raises; or the plan or report is of another model.
    """
    entries, name, targets = _asked(module, what, policy)
    for entry in entries:
        if targets.params[entry.fqn].is_meta and not is_lazy(targets.params[entry.fqn]):
            raise StateError(f"{entry.fqn} is on the meta device and has no values to verify.", fqn=entry.fqn)
    reasons = [_why_not(entry, targets) for entry in entries]
    return [
        Subject(entry=entry, fill=None if reason else entry.fill, reason=reason, targets=targets)
        for entry, reason in zip(entries, reasons, strict=True)
    ], name


def _asked(module: nn.Module, what: Asked, policy: Policy) -> tuple[Sequence[Entry], str, Targets]:
    if isinstance(what, Report):
        what = Plan(model=what.model, entries=what.entries)
    if isinstance(what, Plan):
        return tuple(what.values()), what.model, bind_targets(what, module)
    surroundings = PlanContext(rules_only=True) if what is None else None
    made, planner = decide(module, [parse_config(what)], policy, surroundings)
    return tuple(made.values()), made.model, targets_of(planner, made)


def _why_not(entry: Entry, targets: Targets) -> str:
    weight = targets.weights.get(entry.fqn)
    outcome = entry.outcome if isinstance(entry, ReportEntry) else ""
    if outcome == OWN or (entry.own is not None and not outcome):
        return "its module's own init_weights"
    if entry.kept:
        return entry.kept
    if outcome == KEPT or entry.rule is None:
        return "no rule"
    if entry.deferred is not None:
        return "no shape yet"
    if entry.fill is None:
        return f"{type(entry.rule.initializer).__name__}: not known in advance"
    fill = entry.fill.fill if isinstance(entry.fill, Padded) else entry.fill
    if isinstance(fill, Custom):
        return f"{entry.fill}: a function of your own"
    if fill is not entry.fill and isinstance(fill, (Blocks, Orthogonal, Sparse)):
        return f"{entry.fill}: no test knows the scheme without the zeros"
    if weight is not None and weight.constraint is not None:
        return f"{entry.through} {weight.constraint}"
    return ""
