"""The models of a block get their values together: at its end, or before one of them is used."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from itertools import count, filterfalse

from torch import nn

from ..applying import (
    Application,
    agreed_seed,
    check_agreement,
    make_plan,
    put_back_on_error,
    targets_of,
    write_copy,
)
from ..modes import without_modes
from ..planning import (
    FILLED,
    KEPT,
    OWN,
    PlanContext,
    Planner,
    RecordedTensor,
    Report,
    ReportEntry,
    can_reach,
    check_coverage,
    planned,
    recorded_tensors,
    rule_matches,
    walk,
    warn_of_conflicts,
    warn_of_stale,
    warn_of_unwritten,
)
from ..sampling import fresh_seed
from .built import living_roots
from .deferral import draws, without_replaced_fills
from .scope import Run


def initialize_roots(scope: Run, *, used: nn.Module | None = None, ends: bool = False) -> None:
    """Give the models that were built in a block so far their values.

    Args:
        scope: The block.
        used: Only the models that this module is part of: it is about to be used (I5).
        ends: Whether the block has ended: a rule that has matched nothing will not match any more.

    Raises:
        AutoInitError: nothing was changed.
    """
    # By the order of construction; an index that was given before stays.
    free = filterfalse(scope.results.__contains__, count())
    roots = dict(zip(free, living_roots(scope.built), strict=False))
    if used is not None:
        roots = {n: root for n, root in roots.items() if any(node.module is used for node in walk(root))}
    if scope.policy.require_coverage or can_reach(scope.rules, scope.built):
        # Modes belong to a thread: in another one the block is not watched, and must go on being watched in its own.
        watch = scope.watch if scope.ended or scope.is_here() else None
        with watch.aside() if watch is not None else nullcontext(), without_modes():
            _initialize(scope, roots, ends=ends)
    else:
        for number, root in roots.items():
            scope.results[number] = partial(_report_untouched, weakref.ref(root), type(root).__name__, number)
        if roots:
            planner = Planner(next(iter(roots.values())), [scope.rules], PlanContext())
            planner.classes.update(map(type, scope.built))
            scope.tallies.append(rule_matches(planner))
        if ends:
            scope.check_rules()
    if not ends:
        scope.built.final.update(id(node.module) for root in roots.values() for node in walk(root))


def _report_untouched(root: weakref.ref[nn.Module], model: str, number: int) -> Report:
    module = root()
    plan = planned(Planner(module, [], PlanContext())) if module is not None else {}
    entries = {fqn: ReportEntry.of(entry, KEPT) for fqn, entry in plan.items()}
    return Report(model=model, entries=entries, root=number)


def _plan(
    scope: Run, roots: Iterable[nn.Module], *, ends: bool
) -> tuple[list[Planner], list[Application], list[RecordedTensor]]:
    """Plan all models and find their tensors, before any is written (A)."""
    taken: set[int] = set()
    context = PlanContext(
        built=set(map(id, scope.built)),
        final=scope.built.final,
        content=scope.content if scope.watch is not None else None,
        taken=taken,
        filled_within=scope.filled_within(),
        applied_within=scope.built.carried_out,
        called=scope.built.called,
        has_rules=bool(scope.rules) or any(outer.rules for outer in scope.around),
        policy=scope.policy,
    )
    planners = [Planner(root, [scope.rules], context) for root in roots]
    for planner in planners:
        planner.collect()
        taken.update(planner.records.by_id)
    tensors = recorded_tensors(planners, scope.content) if scope.watch is not None else []
    plans = [make_plan(planner) for planner in planners]
    scope.tallies += map(rule_matches, planners)
    if ends:
        scope.check_rules()
    check_coverage(plans, scope.policy)
    warn_of_conflicts(planners, scope.policy.unmatched)
    pairs = list(zip(planners, plans, strict=True))
    warn_of_stale(tensors, pairs)
    warn_of_unwritten(plans)
    return planners, [Application(plan, planner.root, targets_of(planner, plan)) for planner, plan in pairs], tensors


def _initialize(scope: Run, roots: Mapping[int, nn.Module], *, ends: bool) -> None:
    planners, applications, tensors = _plan(scope, roots.values(), ends=ends)
    check_agreement(applications, scope.given_seed)
    reports: dict[int, Report] = {}
    with without_replaced_fills(scope, applications, ends=ends), put_back_on_error(applications):
        for number, planner, application in zip(roots, planners, applications, strict=True):
            plan, params, seed = application.plan, application.targets.params, scope.seed
            if draws(plan):
                # Drawn once for all roots of the block (S2).
                seed = scope.seed = fresh_seed() if seed is None else seed
                if scope.given_seed is None:
                    seed = agreed_seed(seed, params.values())
            report = application.apply(seed, number)
            reports[id(planner)] = scope.results[report.root] = report
            if scope.around:
                scope.around[0].remember(plan, report, params)
                touched = set(map(id, filter(planner.context.may_touch, planner.modules.values())))
                for outer in scope.around:
                    outer.built.carried_out |= touched
        for copy in tensors:
            leader = copy.leader
            if leader is None or leader.record is None:
                continue
            if reports[id(leader.planner)][leader.record.fqn].outcome in (FILLED, OWN):
                write_copy(leader.tensor, copy.tensor)
    warn_of_unwritten(reports.values())
