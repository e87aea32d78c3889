"""What one execution of a block owns: the modules built in it, and the reports of what became of them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import nn

from ..applying import (
    agreed_seed,
    apply_plan,
    before_loading_code,
    check_agreement,
    make_plan,
    put_back_on_error,
    targets_of,
    write_copies,
)
from ..construction import AUTOINIT, Content
from ..errors import StateError, warn
from ..modes import without_modes
from ..planning import (
    COPY_OF,
    FILLED,
    KEPT,
    OWN,
    Copy,
    Entry,
    Plan,
    Planner,
    Policy,
    Report,
    ReportEntry,
    Surroundings,
    Tally,
    can_reach,
    check_coverage,
    check_unmatched,
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
from ..rules import Rule
from ..sampling import fresh_seed
from .census import Census
from .context import Extent, innermost
from .cycles import failed_constructions, refers_to_itself
from .deferring import Deferral, is_plain


class Run(Extent):
    """One execution of a `with autoinit(...)` block; `as run` gives it."""

    def __init__(
        self, rules: tuple[Rule, ...], seed: int | None, policy: Policy, outer: Run | None, *, defer: bool
    ) -> None:
        super().__init__()
        self.census = Census()
        around = outer.deferral if outer is not None else None
        self.deferral: Deferral = Deferral(defer, bool(rules), around, self.is_here)
        self._reports: list[Report | Callable[[], Report]] = []
        self._rules = rules
        self._seed = self._given_seed = seed
        self._policy = policy
        self.outer = outer
        self._settled: dict[int, tuple[weakref.ref[torch.Tensor], Entry]] = {}
        self._tallies: list[Tally] = []
        self._replaceable: dict[int, tuple[Content, Content]] = {}
        self._numbers: set[int] = set()

    def notice(self, module: nn.Module) -> None:
        """Record that a module is being built: here, and so in the blocks around this one."""
        run: Run | None = self
        while run is not None:
            run.census.add(module)
            run = run.outer

    def notice_unpickled(self, module: nn.Module) -> None:
        """Record a module that is read from a file as a whole: it has nothing left to run, here and in outer blocks."""
        run: Run | None = self
        while run is not None:
            run.census.add(module)
            run.census.called.add(id(module))
            run.census.carried_out.add(id(module))
            run = run.outer

    @property
    def reports(self) -> list[Report]:
        """One for each root module built in the block, in order, once the block has ended."""
        self._reports = [report if isinstance(report, Report) else report() for report in self._reports]
        return list(self._reports)  # type: ignore[arg-type]

    @property
    def report(self) -> Report:
        """The report of the block's only root.

        Raises:
            StateError: the block has not ended, or has no root, or several.
        """
        reports = self.reports
        if len(reports) == 1:
            return reports[0]
        if not self.ended:
            raise StateError("The block has not ended: its report is made when it does. Read run.report after it.")
        models = ", ".join(report.model for report in reports) or "none"
        raise StateError(f"The block has {len(reports)} root modules ({models}), not one. Use run.reports.")

    def settle(self) -> None:
        """Give the modules that have none yet their values, and judge the rules: the block has ended.

        Raises:
            AutoInitError: nothing was changed.
        """
        roots = self._roots()
        self._settle(roots, self._number(roots), judge=True)

    def settle_so_far(self) -> None:
        """Give the modules built so far their values; rules that match nothing may match what is built later."""
        roots = self._roots()
        self._settle(roots, self._number(roots), judge=False)

    def settle_called(self, module: nn.Module) -> None:
        """Give the models that a module is part of their values, because it is about to be used (I5)."""
        roots = self._roots()
        called = [root for root in roots if any(node.module is module for node in walk(root))]
        self._settle(called, self._number(roots), judge=False)

    def tensors(self) -> Iterator[torch.Tensor]:
        """The parameters and buffers of all modules of the block, as far as they have memory in this process."""
        for module in self.census:
            for table in (module.__dict__.get("_parameters", {}), module.__dict__.get("_buffers", {})):
                yield from filter(is_plain, table.values())

    def _roots(self) -> list[nn.Module]:
        roots = self.census.roots()
        # Whether the garbage collector has come by must not decide the index of a root, by which its values go.
        if len(roots) > 1 and any(map(refers_to_itself, roots)):
            del roots
            gc.collect()
            roots = self.census.roots()
        if len(roots) > 1:
            failed = failed_constructions()
            roots = [root for root in roots if id(root) not in failed]
        return roots

    def _settle(self, roots: Sequence[nn.Module], numbered: Mapping[int, int], *, judge: bool) -> None:
        if not self._policy.require_coverage and not can_reach(self._rules, self.census):
            self._leave(roots, numbered)
            if judge:
                self._judge()
            else:
                self._close(roots)
            return
        with without_modes(), self.deferral.aside():
            self._carry_out(roots, numbered, judge=judge)

    def _carry_out(self, roots: Sequence[nn.Module], numbered: Mapping[int, int], *, judge: bool) -> None:
        taken: set[int] = set()
        surroundings = self._surroundings(taken)
        planners = [Planner(root, [self._rules], surroundings) for root in roots]
        for planner in planners:
            planner.collect()
            taken.update(planner.records.ids())
        held = find_held(planners, self.deferral.content) if surroundings.content is not None else []
        copies = list(find_copies(held))
        mark_copies(copies)
        plans = [make_plan(planner) for planner in planners]
        self._tallies += map(tally, planners)
        if judge:
            self._judge()
        check_coverage(plans, self._policy)
        warn_of_conflicts(planners, self._policy.unmatched)
        warn_of_stale(held, copies, list(zip(planners, plans, strict=True)))
        warn_of_unwritten(plans)
        # All found before any is written, so that an error leaves every root as it was.
        targets = [targets_of(planner, plan) for planner, plan in zip(planners, plans, strict=True)]
        work = list(zip(plans, targets, strict=True))
        check_agreement(work, self._given_seed)
        draws = self._seed is None and any(_draws(plan.values()) for plan in plans)
        with (
            self.deferral.replaced(work, final=not judge, draws=draws),
            self.deferral.signed(id(self)),
            put_back_on_error(before_loading_code(work)),
        ):
            for (plan, target), planner, root in zip(work, planners, roots, strict=True):
                seed = self._seed_of(plan.values(), target.params.values())
                report = apply_plan(plan, root, seed=seed, root=numbered[id(root)], targets=target)
                self._reports.append(report)
                self._numbers.add(report.root)
                if self.outer is not None:
                    self.outer.remember(plan, report, target.params)
                    self.outer.leave_to_inner(filter(surroundings.may_touch, planner.modules.values()))
            reports = self._reports[len(self._reports) - len(planners) :]
            made = dict(zip(map(id, planners), reports, strict=True))
            followers = [copy for copy in copies if _was_written(copy, made)]
            write_copies(followers)
        warn_of_unwritten(report for report in reports if isinstance(report, Report))
        if not judge:
            self._close(roots)

    def _close(self, roots: Iterable[nn.Module]) -> None:
        """Let nothing be done to models any more, nor their calls be of interest: they have been used."""
        self.census.final.update(id(node.module) for root in roots for node in walk(root))

    def _leave(self, roots: Sequence[nn.Module], numbered: Mapping[int, int]) -> None:
        """Leave models alone that no rule can reach; who wants their reports has them made then."""
        if roots:
            planner = Planner(roots[0], [self._rules], Surroundings())
            planner.census.update(map(type, self.census))
            self._tallies.append(tally(planner))
        for root in roots:
            self._numbers.add(numbered[id(root)])
            self._reports.append(partial(_report_untouched, weakref.ref(root), type(root).__name__, numbered[id(root)]))

    def _judge(self) -> None:
        if self._tallies:
            check_unmatched(self._tallies, self._policy.unmatched)
        elif self._rules and self._policy.unmatched != "ignore" and not self.census.total:
            warn(
                "No module was built in this autoinit block, so its rules did nothing. For a model that exists already "
                "use autoinit.initialize(model, cfg)."
            )

    def _number(self, roots: Sequence[nn.Module]) -> dict[int, int]:
        """An index for each root, by the order of construction; one that was given before stays."""
        taken = self._numbers
        free = (number for number in range(len(taken) + len(roots)) if number not in taken)
        return {id(root): next(free) for root in roots}

    def _seed_of(self, entries: Iterable[Entry], params: Iterable[torch.Tensor]) -> int | None:
        """One seed for all roots of the block, drawn when the first of them needs one (S2)."""
        if not _draws(entries):
            return self._seed
        if self._seed is None:
            self._seed = fresh_seed()
        return self._seed if self._given_seed is not None else agreed_seed(self._seed, params)

    def _surroundings(self, taken: set[int]) -> Surroundings:
        census = self.census
        settled = {key: entry for key, (param, entry) in self._settled.items() if self._is_as_filled(param())}
        return Surroundings(
            built={id(module) for module in census},
            final=census.final,
            content=self._content if self.deferral.watch is not None else None,
            taken=taken,
            settled=settled,
            carried_out=census.carried_out,
            called=census.called,
            asked=self._asks,
            policy=self._policy,
        )

    def _content(self, tensor: torch.Tensor) -> Content | None:
        """What a tensor holds; what a block around this one has filled may be replaced (P2)."""
        content = self.deferral.content(tensor)
        if content is not None and content.original.operator == AUTOINIT:
            outer = self.outer
            while outer is not None:
                if id(outer) in content.original.numbers:
                    return self._as_initialization(content)
                outer = outer.outer
        return content

    def _as_initialization(self, content: Content) -> Content:
        """The same, and what it is a copy of, as if constructors had written it."""
        if id(content) not in self._replaceable:
            copied = content.copied_from
            made = Content(AUTOINIT) if copied is None else self._as_initialization(copied).copy(content.operator, None)
            self._replaceable[id(content)] = content, made
        return self._replaceable[id(content)][1]

    def _is_as_filled(self, param: torch.Tensor | None) -> bool:
        """Whether a parameter that an inner block has filled is there, and nothing has written to it since."""
        content = self.deferral.content(param) if param is not None else None
        return param is not None and (content is None or content.operator == AUTOINIT)

    @property
    def _asks(self) -> bool:
        """Whether this block, or one around it, has rules."""
        return bool(self._rules) or (self.outer is not None and self.outer._asks)

    def remember(self, plan: Plan, report: Report, params: Mapping[str, torch.Tensor]) -> None:
        """Keep, here and in the blocks around, what rules have filled that beat this block's (P2)."""
        for fqn, entry in report.items():
            if entry.outcome in (FILLED, OWN) or entry.outcome.startswith(COPY_OF):
                param = params[fqn]
                run: Run | None = self
                while run is not None:
                    run._settled[id(param)] = (weakref.ref(param), plan[fqn])
                    run = run.outer

    def leave_to_inner(self, modules: Iterable[nn.Module]) -> None:
        """Note, here and in the blocks around, that an inner block has carried out what these modules say."""
        keys = set(map(id, modules))
        run: Run | None = self
        while run is not None:
            run.census.carried_out |= keys
            run = run.outer


def _draws(entries: Iterable[Entry]) -> bool:
    return any(entry.fill is not None and entry.fill.is_random for entry in entries)


def remember(plan: Plan, report: Report, params: Mapping[str, torch.Tensor]) -> None:
    """Tell the open block, if there is one, what a module's own rules have filled."""
    run = innermost(Run)
    if run is not None:
        run.remember(plan, report, params)


def _was_written(copy: Copy, reports: Mapping[int, Report | Callable[[], Report]]) -> bool:
    """Whether the tensor that a copy follows has got other values."""
    leader = copy.leader
    report = reports[id(leader.planner)]
    return (
        leader.record is not None and isinstance(report, Report) and report[leader.record.fqn].outcome in (FILLED, OWN)
    )


def _report_untouched(root: weakref.ref[nn.Module], model: str, number: int) -> Report:
    module = root()
    plan = planned(Planner(module, [], Surroundings())) if module is not None else {}
    entries = {fqn: ReportEntry.of(entry, KEPT) for fqn, entry in plan.items()}
    return Report(model=model, entries=entries, root=number)
