"""The parameters of a model with what each should hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..applying import Targets, bind_targets, decide, is_sharded, targets_of
from ..config import Config, parse_config
from ..errors import StateError
from ..fills import Blocks, Custom, Fill, Orthogonal, Padded, Sparse
from ..layers import is_lazy
from ..planning import KEPT, OWN, Entry, Plan, PlanContext, Policy, Report, ReportEntry
from .verdict import Finding

Asked = Plan | Report | Config
"""The expected values of a model; None if nothing is known."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter, what it should hold, and what its tests find."""

    entry: Entry
    targets: Targets
    untested: str  # Why nothing is known of its values, or an empty string.
    findings: list[Finding] = field(default_factory=list)

    @property
    def fill(self) -> Fill | None:
        """The fill that its values are tested against."""
        return None if self.untested else self.entry.fill

    @property
    def slack(self) -> float:
        """Relative rounding error of values that forward computes from stored ones."""
        return 16 * torch.finfo(self.entry.dtype).eps if self.entry.fqn in self.targets.weights else 0.0

    @property
    def has_values(self) -> bool:
        """Whether there are numbers to look at."""
        param, dtype = self.targets.params[self.entry.fqn], self.entry.dtype
        numbers = dtype.is_floating_point or dtype.is_complex
        return numbers and not is_lazy(param) and not param.is_meta and param.layout == torch.strided

    def values(self) -> Tensor:
        """The values that forward uses, gathered if the parameter is sharded: then all ranks have to call this."""
        weight = self.targets.weights.get(self.entry.fqn)
        with torch.no_grad():
            value = self.targets.params[self.entry.fqn] if weight is None else weight.get()
            return value.full_tensor().detach() if is_sharded(value) else value.detach()

    def pieces(self, values: Tensor) -> Iterator[tuple[Fill, Tensor]]:
        """Parts of the values, each with its fill."""
        if isinstance(self.fill, Blocks) or (isinstance(self.fill, Padded) and self.fill.is_random):
            yield from self.fill.pieces(values)
        elif self.fill is not None:
            yield self.fill, values


def parameters_of(module: nn.Module, what: Asked, policy: Policy) -> tuple[Sequence[Parameter], str]:
    """All parameters of a model, tied ones once; and its class name. StateError if one is on the meta device."""
    if isinstance(what, Report):
        what = Plan(model=what.model, entries=what.entries)
    if isinstance(what, Plan):
        made, targets = what, bind_targets(what, module)
    else:
        context = PlanContext(rules_only=True) if what is None else None
        made, planner = decide(module, [parse_config(what)], policy, context)
        targets = targets_of(planner, made)
    for fqn in made:
        if targets.params[fqn].is_meta and not is_lazy(targets.params[fqn]):
            raise StateError(f"{fqn} is on the meta device and has no values to verify.", fqn=fqn)
    found = [Parameter(entry=entry, targets=targets, untested=_why_untested(entry, targets)) for entry in made.values()]
    return found, made.model


def _why_untested(entry: Entry, targets: Targets) -> str:
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
