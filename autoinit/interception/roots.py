"""The models of a block get their values together: at its end, or before one of them is used."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
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
    write_copies,
)
from ..modes import without_modes
from ..planning import (
    FILLED,
    KEPT,
    OWN,
    Copy,
    Planner,
    Report,
    ReportEntry,
    Surroundings,
    can_reach,
    check_coverage,
    find_copies,
    find_held,
    mark_copies,
    planned,
    tally,
    walk,
    warn_of_conflicts,
    warn_of_stale,
    warn_of_unwritten,
)
from ..sampling import fresh_seed
from .built import living_roots
from .replaced_fills import draws, without_replaced_fills
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
    roots = living_roots(scope.built)
    # By the order of construction; an index that was given before stays.
    numbers = dict(zip(map(id, roots), filterfalse(scope.results.__contains__, count()), strict=False))
    if used is not None:
        roots = [root for root in roots if any(node.module is used for node in walk(root))]
    if scope.policy.require_coverage or can_reach(scope.rules, scope.built):
        with scope.watch.aside() if scope.watch is not None else nullcontext(), without_modes():
            _initialize(scope, roots, numbers, ends=ends)
    else:
        if roots:
            planner = Planner(roots[0], [scope.rules], Surroundings())
            planner.census.update(map(type, scope.built))
            scope.tallies.append(tally(planner))
        for root in roots:
            number = numbers[id(root)]
            scope.results[number] = partial(_report_untouched, weakref.ref(root), type(root).__name__, number)
        if ends:
            scope.check_rules()
    if not ends:
        scope.built.final.update(id(node.module) for root in roots for node in walk(root))


def _report_untouched(root: weakref.ref[nn.Module], model: str, number: int) -> Report:
    module = root()
    plan = planned(Planner(module, [], Surroundings())) if module is not None else {}
    entries = {fqn: ReportEntry.of(entry, KEPT) for fqn, entry in plan.items()}
    return Report(model=model, entries=entries, root=number)


def _plan(scope: Run, roots: Sequence[nn.Module], *, ends: bool) -> tuple[list[Planner], list[Application], list[Copy]]:
    """Plan all models and find their tensors, before any is written (A)."""
    taken: set[int] = set()
    surroundings = Surroundings(
        built=set(map(id, scope.built)),
        final=scope.built.final,
        content=scope.content if scope.watch is not None else None,
        taken=taken,
        settled=scope.filled_within(),
        carried_out=scope.built.carried_out,
        called=scope.built.called,
        asked=bool(scope.rules) or any(outer.rules for outer in scope.around),
        policy=scope.policy,
    )
    planners = [Planner(root, [scope.rules], surroundings) for root in roots]
    for planner in planners:
        planner.collect()
        taken.update(planner.records.ids())
    held = find_held(planners, scope.content) if scope.watch is not None else []
    copies = list(find_copies(held))
    mark_copies(copies)
    plans = [make_plan(planner) for planner in planners]
    scope.tallies += map(tally, planners)
    if ends:
        scope.check_rules()
    check_coverage(plans, scope.policy)
    warn_of_conflicts(planners, scope.policy.unmatched)
    warn_of_stale(held, copies, list(zip(planners, plans, strict=True)))
    warn_of_unwritten(plans)
    pairs = zip(planners, plans, strict=True)
    return planners, [Application(plan, planner.root, targets_of(planner, plan)) for planner, plan in pairs], copies


def _initialize(scope: Run, roots: Sequence[nn.Module], numbers: Mapping[int, int], *, ends: bool) -> None:
    planners, applications, copies = _plan(scope, roots, ends=ends)
    check_agreement(applications, scope.given_seed)
    with without_replaced_fills(scope, applications, ends=ends), put_back_on_error(applications):
        reports: dict[int, Report] = {}
        for planner, application in zip(planners, applications, strict=True):
            plan, params, seed = application.plan, application.targets.params, scope.seed
            if draws(plan):
                # Drawn once for all roots of the block (S2).
                seed = scope.seed = fresh_seed() if seed is None else seed
                if scope.given_seed is None:
                    seed = agreed_seed(seed, params.values())
            report = application.apply(seed, numbers[id(planner.root)])
            reports[id(planner)] = scope.results[report.root] = report
            if scope.around:
                scope.around[0].remember(plan, report, params)
                touched = set(map(id, filter(planner.surroundings.may_touch, planner.modules.values())))
                for outer in scope.around:
                    outer.built.carried_out |= touched
        write_copies([copy for copy in copies if _has_new_values(copy, reports)])
    warn_of_unwritten(reports.values())


def _has_new_values(copy: Copy, reports: Mapping[int, Report]) -> bool:
    record, report = copy.leader.record, reports[id(copy.leader.planner)]
    return record is not None and report[record.fqn].outcome in (FILLED, OWN)
