"""The state of open blocks: which one is current, the modules built in it, and their reports."""

from __future__ import annotations

import html
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping

import torch

from ..construction import AUTOINIT, Content, Watch
from ..errors import StateError, warn
from ..planning import COPY_OF, ENGINES, FILLED, OWN, Entry, Plan, Policy, Report, RuleMatches, check_unmatched
from ..rules import Rule
from .extents import Extent, Pause, stack

SHOWN = 3
"""Roots in the repr of a block."""


class Run(Extent):
    """The state of one `with autoinit(...)` block; `as run` gives it.

    Attributes:
        around: The blocks around this one in the same thread or task, inner before outer.
        seed: The user's seed, or the one that was drawn.
        results: The report of each root, or a function that makes it, by the root's index.
    """

    def __init__(
        self, rules: tuple[Rule, ...], seed: int | None, policy: Policy, outer: Run | None, *, defer: bool
    ) -> None:
        super().__init__()
        self.rules = rules
        self.policy = policy
        self.around: tuple[Run, ...] = () if outer is None else (outer, *outer.around)
        self.watch = None if outer is None else outer.watch
        self.given_seed = self.seed = seed
        self.tallies: list[RuleMatches] = []
        self.results: dict[int, Report | Callable[[], Report]] = {}
        self._defer = defer
        self._filled: dict[int, tuple[weakref.ref[torch.Tensor], Entry]] = {}
        self._replaceable: dict[int, tuple[Content, Content]] = {}

    def begin(self) -> None:
        """Make this the current block of the running thread or task."""
        # Rules of the block, of one around it, or of its modules may replace what constructors write.
        if self.watch is not None or self.rules or not ENGINES.isdisjoint(sys.modules):
            self.start_watching()
        super().begin()

    def start_watching(self) -> None:
        """Record what constructors write, from now on."""
        if self.watch is None:
            self.watch = Watch(self.is_here, may_postpone=self._defer and bool(self.rules))
            self.owns_watch = True
        self.watch.users += 1
        self.watch.begin()
        if not self._defer and not self.owns_watch:
            self.watch.stop_postponing()

    @property
    def reports(self) -> list[Report]:
        """One for each root module built in the block, in order, once the block has ended."""
        made = {number: each if isinstance(each, Report) else each() for number, each in self.results.items()}
        self.results.update(made)
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
        if not reports:
            raise StateError("The block has no root module: none was built in it, or all were deleted. Name the model.")
        models = ", ".join(report.model for report in reports)
        raise StateError(f"The block has {len(reports)} root modules ({models}), not one. Use run.reports.")

    def __dir__(self) -> Iterable[str]:
        """Names of the public attributes."""
        return [*dir(object), "report", "reports"]

    def __repr__(self) -> str:
        rules = f"{len(self.rules)} rule{'' if len(self.rules) == 1 else 's'}"
        if not self.results:
            return f"Run({rules}; {'no root' if self.ended else 'open'})"
        roots = [f"{report.model}: {report.caption}" for report in self.reports[:SHOWN]]
        roots += [f"{len(self.results) - SHOWN} more roots"] if len(self.results) > SHOWN else []
        return f"Run({rules}; {' | '.join(roots)})"

    def _repr_html_(self) -> str:
        """The reports as tables for a notebook; before the block has ended, its repr."""
        return "".join(report._repr_html_() for report in self.reports) or html.escape(repr(self))

    def check_rules(self) -> None:
        """Raise or warn about rules that have matched nothing, now that the block has ended."""
        if self.tallies:
            check_unmatched(self.tallies, self.policy.unmatched)
        elif self.rules and self.policy.unmatched != "ignore" and self.built.is_empty:
            warn(
                "No module was built in this autoinit block, so its rules did nothing. For a model that exists already "
                "use autoinit.initialize(model, cfg)."
            )

    def filled_within(self) -> dict[int, Entry]:
        """What inner blocks have filled and nothing has written to since, by the id of the parameter."""
        found = {}
        for key, (reference, entry) in self._filled.items():
            param = reference()
            content = self.watch.record.content(param) if self.watch is not None and param is not None else None
            if param is not None and (content is None or content.operator == AUTOINIT):
                found[key] = entry
        return found

    def content(self, tensor: torch.Tensor) -> Content | None:
        """What a tensor holds; what an outer block has filled counts as initialization, which may be replaced (P2)."""
        content = self.watch.record.content(tensor) if self.watch is not None else None
        if content is None or content.original.operator != AUTOINIT:
            return content
        writers = content.original.numbers
        return self._as_initialization(content) if any(id(outer) in writers for outer in self.around) else content

    def _as_initialization(self, content: Content) -> Content:
        """The same content, and what it is a copy of, as if constructors had written it."""
        if id(content) not in self._replaceable:
            copied = content.copied_from
            made = Content(AUTOINIT) if copied is None else self._as_initialization(copied).copy(content.operator, None)
            self._replaceable[id(content)] = content, made
        return self._replaceable[id(content)][1]

    def remember(self, plan: Plan, report: Report, params: Mapping[str, torch.Tensor]) -> None:
        """Keep, here and in the blocks around, what rules have filled that win over this block's (P2)."""
        for fqn, entry in report.items():
            if entry.outcome in (FILLED, OWN) or entry.outcome.startswith(COPY_OF):
                for scope in (self, *self.around):
                    scope._filled[id(params[fqn])] = weakref.ref(params[fqn]), plan[fqn]


def extents_here() -> tuple[Run | None, list[Extent]]:
    """The current block, and all that record what the running code builds: with those around it, and observers.

    None of them in a pause.
    """
    current: Run | None = None
    found: list[Extent] = []
    for extent in reversed(stack.get()):
        if extent.is_here():
            if isinstance(extent, Pause):
                break
            if not isinstance(extent, Run):
                found.append(extent)
            elif current is None:
                current = extent
                found += (extent, *extent.around)
    return current, found


def innermost() -> Run | None:
    """The block that the running code is in; None in a pause."""
    return extents_here()[0]


def remember(plan: Plan, report: Report, params: Mapping[str, torch.Tensor]) -> None:
    """Let the current block, if there is one, keep what a module's own rules have filled."""
    if (scope := innermost()) is not None:
        scope.remember(plan, report, params)
