"""Models of a block that get their values together: at its end, or before one of them is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import nn

from ..applying import (
    Application,
    before_loading_code,
    check_agreement,
    make_plan,
    put_back_on_error,
    targets_of,
    write_copies,
)
from ..planning import (
    FILLED,
    OWN,
    Plan,
    PlanContext,
    Planner,
    RecordedTensor,
    Report,
    check_coverage,
    recorded_tensors,
    rule_matches,
    warn_of_conflicts,
    warn_of_stale,
    warn_of_unwritten,
)

if TYPE_CHECKING:
    from .run import Run


class Batch:
    """Some roots of a block, planned together and then initialized.

    Args:
        run: The block.
        roots: Those that get their values.
        numbers: Indices of the roots in the block, by id.
        ends: Whether the block has ended.
    """

    def __init__(self, run: Run, roots: Sequence[nn.Module], numbers: Mapping[int, int], *, ends: bool) -> None:
        self._run = run
        self._numbers = numbers
        self._ends = ends
        taken: set[int] = set()
        self._surroundings = surroundings_of(run, taken)
        self._planners = [Planner(root, [run.rules], self._surroundings) for root in roots]
        for planner in self._planners:
            planner.collect()
            taken.update(planner.records.by_id)

    def initialize(self) -> None:
        """Decide everything, then write it.

        Raises:
            AutoInitError: nothing was changed.
        """
        applications, tensors = self._decide()
        check_agreement(applications, self._run.given_seed)
        draws = self._run.seed is None and any(_draws(each.plan) for each in applications)
        with (
            self._run.deferral.replaced(applications, final=not self._ends, draws=draws),
            self._run.deferral.signed(id(self._run)),
            put_back_on_error(before_loading_code(applications)),
        ):
            pairs = zip(self._planners, applications, strict=True)
            reports = {id(planner): self._apply(planner, application) for planner, application in pairs}
            write_copies([tensor for tensor in tensors if _follows_written(tensor, reports)])
        warn_of_unwritten(reports.values())

    def _decide(self) -> tuple[list[Application], list[RecordedTensor]]:
        """The plans of all roots, with their targets: all found before any is written (A)."""
        run, planners = self._run, self._planners
        tensors = recorded_tensors(planners, run.content) if self._surroundings.content is not None else []
        plans = [make_plan(planner) for planner in planners]
        run.tallies += map(rule_matches, planners)
        if self._ends:
            run.check_rules()
        check_coverage(plans, run.policy)
        warn_of_conflicts(planners, run.policy.unmatched)
        planned = list(zip(planners, plans, strict=True))
        warn_of_stale(tensors, planned)
        warn_of_unwritten(plans)
        return [Application(plan, planner.root, targets_of(planner, plan)) for planner, plan in planned], tensors

    def _apply(self, planner: Planner, application: Application) -> Report:
        run, plan, params = self._run, application.plan, application.targets.params
        seed = run.draw_seed(params.values()) if _draws(plan) else run.seed
        report = application.apply(seed, self._numbers[id(planner.root)])
        run.add_report(report)
        if run.outer is not None:
            run.outer.remember(plan, report, params)
            run.outer.leave_to_inner(filter(self._surroundings.may_touch, planner.modules.values()))
        return report


def surroundings_of(run: Run, taken: set[int]) -> PlanContext:
    """What planning has to respect in a block.

    Args:
        run: The block.
        taken: Ids of the tensors that belong to an earlier root; whoever plans adds to it.
    """
    built = run.built
    return PlanContext(
        built={id(module) for module in built},
        final=built.final,
        content=run.content if run.deferral.watch is not None else None,
        taken=taken,
        filled_within=run.filled_within(),
        applied_within=built.carried_out,
        called=built.called,
        has_rules=any(each.rules for each in run.outwards()),
        policy=run.policy,
    )


def _draws(plan: Plan) -> bool:
    return any(entry.fill is not None and entry.fill.is_random for entry in plan.values())


def _follows_written(tensor: RecordedTensor, reports: Mapping[int, Report]) -> bool:
    """Whether a tensor is a copy of one that has got other values."""
    leader = tensor.leader
    if leader is None or leader.record is None:
        return False
    return reports[id(leader.planner)][leader.record.fqn].outcome in (FILLED, OWN)
