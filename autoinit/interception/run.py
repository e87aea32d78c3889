"""One execution of a block: the modules built in it, and the reports of what became of them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import nn

from ..applying import agreed_seed
from ..construction import AUTOINIT, Content
from ..errors import StateError, warn
from ..modes import without_modes
from ..planning import (
    COPY_OF,
    FILLED,
    KEPT,
    OWN,
    Entry,
    Plan,
    PlanContext,
    Planner,
    Policy,
    Report,
    ReportEntry,
    RuleMatches,
    can_reach,
    check_unmatched,
    planned,
    rule_matches,
    walk,
)
from ..rules import Rule
from ..sampling import fresh_seed
from .batch import Batch
from .built import BuiltModules
from .context import Extent, innermost
from .cycles import failed_constructions, refers_to_itself
from .deferring import Deferral, is_plain


class Run(Extent):
    """One execution of a `with autoinit(...)` block; `as run` gives it."""

    def __init__(
        self, rules: tuple[Rule, ...], seed: int | None, policy: Policy, outer: Run | None, *, defer: bool
    ) -> None:
        super().__init__()
        self.rules = rules
        self.policy = policy
        self.outer = outer
        self.built = BuiltModules()
        self.deferral: Deferral = Deferral(defer, bool(rules), outer.deferral if outer else None, self.is_here)
        self.tallies: list[RuleMatches] = []
        self.given_seed = self.seed = seed
        self._reports: dict[int, Report | Callable[[], Report]] = {}
        self._filled: dict[int, tuple[weakref.ref[torch.Tensor], Entry]] = {}
        self._replaceable: dict[int, tuple[Content, Content]] = {}

    def outwards(self) -> Iterator[Run]:
        """This block and those around it."""
        run: Run | None = self
        while run is not None:
            yield run
            run = run.outer

    # --- What is built -----------------------------------------------------------------------------------------------

    def notice(self, module: nn.Module) -> None:
        """Record that a module is being built: here, and so in the blocks around this one."""
        for run in self.outwards():
            run.built.add(module)

    def notice_unpickled(self, module: nn.Module) -> None:
        """Record a module that is read from a file as a whole: it has nothing left to run, here and in outer blocks."""
        for run in self.outwards():
            run.built.add(module)
            run.built.called.add(id(module))
            run.built.carried_out.add(id(module))

    def tensors(self) -> Iterator[torch.Tensor]:
        """The parameters and buffers of all modules of the block, as far as they have memory in this process."""
        for module in self.built:
            for table in (module.__dict__.get("_parameters", {}), module.__dict__.get("_buffers", {})):
                yield from filter(is_plain, table.values())

    # --- Reports -----------------------------------------------------------------------------------------------------

    @property
    def reports(self) -> list[Report]:
        """One for each root module built in the block, in order, once the block has ended."""
        made = {number: each if isinstance(each, Report) else each() for number, each in self._reports.items()}
        self._reports.update(made)
        return list(made.values())

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

    def add_report(self, report: Report) -> None:
        """Add the report of a root."""
        self._reports[report.root] = report

    # --- Values ------------------------------------------------------------------------------------------------------

    def initialize(self, *, used: nn.Module | None = None, ends: bool = False) -> None:
        """Give models that were built so far their values.

        Args:
            used: Only those that this module is part of: it is about to be used (I5).
            ends: Whether the block has ended: a rule that has matched nothing will not match any more.

        Raises:
            AutoInitError: nothing was changed.
        """
        roots = self._roots()
        numbers = self._number(roots)
        if used is not None:
            roots = [root for root in roots if any(node.module is used for node in walk(root))]
        if self.policy.require_coverage or can_reach(self.rules, self.built):
            with without_modes(), self.deferral.aside():
                Batch(self, roots, numbers, ends=ends).initialize()
        else:
            self._leave(roots, numbers)
            if ends:
                self.check_rules()
        if not ends:
            self.built.final.update(id(node.module) for root in roots for node in walk(root))

    def _roots(self) -> list[nn.Module]:
        roots = self.built.roots()
        # Whether the garbage collector has come by must not decide the index of a root, by which its values go.
        if len(roots) > 1 and any(map(refers_to_itself, roots)):
            del roots
            gc.collect()
            roots = self.built.roots()
        if len(roots) > 1:
            failed = failed_constructions()
            roots = [root for root in roots if id(root) not in failed]
        return roots

    def _number(self, roots: Sequence[nn.Module]) -> dict[int, int]:
        """An index for each root, by the order of construction; one that was given before stays."""
        taken = self._reports
        free = (number for number in range(len(taken) + len(roots)) if number not in taken)
        return dict(zip(map(id, roots), free, strict=False))

    def _leave(self, roots: Sequence[nn.Module], numbers: Mapping[int, int]) -> None:
        """Leave models alone that no rule can reach; who wants their reports has them made then."""
        if roots:
            planner = Planner(roots[0], [self.rules], PlanContext())
            planner.classes.update(map(type, self.built))
            self.tallies.append(rule_matches(planner))
        for root in roots:
            number = numbers[id(root)]
            self._reports[number] = partial(_report_untouched, weakref.ref(root), type(root).__name__, number)

    def check_rules(self) -> None:
        """Judge the rules that have matched nothing, now that the block has ended."""
        if self.tallies:
            check_unmatched(self.tallies, self.policy.unmatched)
        elif self.rules and self.policy.unmatched != "ignore" and self.built.is_empty:
            warn(
                "No module was built in this autoinit block, so its rules did nothing. For a model that exists already "
                "use autoinit.initialize(model, cfg)."
            )

    def draw_seed(self, params: Iterable[torch.Tensor]) -> int:
        """One seed for all roots of the block, drawn when the first of them needs one (S2)."""
        if self.seed is None:
            self.seed = fresh_seed()
        return self.seed if self.given_seed is not None else agreed_seed(self.seed, params)

    # --- Blocks around and inside ------------------------------------------------------------------------------------

    def remember(self, plan: Plan, report: Report, params: Mapping[str, torch.Tensor]) -> None:
        """Keep, here and in the blocks around, what rules have filled that beat this block's (P2)."""
        for fqn, entry in report.items():
            if entry.outcome in (FILLED, OWN) or entry.outcome.startswith(COPY_OF):
                filled = weakref.ref(params[fqn]), plan[fqn]
                for run in self.outwards():
                    run._filled[id(params[fqn])] = filled

    def leave_to_inner(self, modules: Iterable[nn.Module]) -> None:
        """Note, here and in the blocks around, that an inner block has carried out what these modules say."""
        keys = set(map(id, modules))
        for run in self.outwards():
            run.built.carried_out |= keys

    def filled_within(self) -> dict[int, Entry]:
        """What inner blocks have filled and nothing has written to since, by the id of the parameter."""
        return {key: entry for key, (param, entry) in self._filled.items() if self._is_as_filled(param())}

    def _is_as_filled(self, param: torch.Tensor | None) -> bool:
        content = self.deferral.content(param) if param is not None else None
        return param is not None and (content is None or content.operator == AUTOINIT)

    def content(self, tensor: torch.Tensor) -> Content | None:
        """What a tensor holds; what a block around this one has filled may be replaced (P2)."""
        content = self.deferral.content(tensor)
        if content is None or content.original.operator != AUTOINIT:
            return content
        writers = content.original.numbers
        is_of_outer = any(id(run) in writers for run in self.outwards() if run is not self)
        return self._as_initialization(content) if is_of_outer else content

    def _as_initialization(self, content: Content) -> Content:
        """The same, and what it is a copy of, as if constructors had written it."""
        if id(content) not in self._replaceable:
            copied = content.copied_from
            made = Content(AUTOINIT) if copied is None else self._as_initialization(copied).copy(content.operator, None)
            self._replaceable[id(content)] = content, made
        return self._replaceable[id(content)][1]


open_runs: list[Run] = []
"""Of all threads and tasks, in the order of their opening."""


def runs_of(module: nn.Module) -> Iterator[Run]:
    """The open runs that a module was built in, inner before outer, from whatever thread it is used now."""
    return (run for run in open_runs[::-1] if module in run.built)


def remember(plan: Plan, report: Report, params: Mapping[str, torch.Tensor]) -> None:
    """Tell the open block, if there is one, what a module's own rules have filled."""
    run = innermost(Run)
    if run is not None:
        run.remember(plan, report, params)


def _report_untouched(root: weakref.ref[nn.Module], model: str, number: int) -> Report:
    module = root()
    plan = planned(Planner(module, [], PlanContext())) if module is not None else {}
    entries = {fqn: ReportEntry.of(entry, KEPT) for fqn, entry in plan.items()}
    return Report(model=model, entries=entries, root=number)
