"""Constructors' own fills while a block is open: deferred, and dropped where a rule's fill takes their place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.nn.parameter import is_lazy

from ..applying import Targets
from ..deferral import Deferrer, Extents, Records, is_plain, lies_in, put_extent, storage_of
from ..fills import Blocks, Custom, Fill
from ..planning import Entry, Load, Plan, loads_rule

Work = Sequence[tuple[Plan, Targets]]


class Deferral:
    """What one block has to do with the fills that constructors do.

    Args:
        defer: whether the block defers them.
        outer: of the block around this one, in the same thread or task.
        is_here: whether the running code is the block's.
        params: gives the parameters that modules of the block have so far.
    """

    def __init__(
        self,
        defer: bool,
        outer: Deferral | None,
        is_here: Callable[[], bool],
        params: Callable[[], Iterator[nn.Parameter]],
    ) -> None:
        around: Deferrer | None = outer.deferrer if outer is not None else None
        self._is_own = around is None
        self.deferrer: Deferrer | None = (around or Deferrer(is_here, params)) if defer else None
        self._above = around if not defer else None

    def begin(self) -> None:
        """Nothing of a block around is pending in one that does not defer."""
        if self._above is not None:
            self._above.rest()
        if self.deferrer is not None:
            self.deferrer.users += 1

    def end(self) -> None:
        """With the outermost block that defers, nothing is pending any more; and with the last, nothing is noticed."""
        if self.deferrer is not None:
            self.deferrer.users -= 1
            if self._is_own or not self.deferrer.users:
                self.deferrer.rest()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """A stretch in which models are looked at for anything but their values: nothing is brought up to date."""
        if self.deferrer is None:
            yield
        else:
            with self.deferrer.aside():
                yield

    @contextmanager
    def replaced(self, work: Work, *, final: bool, draws: bool) -> Iterator[None]:
        """Around carrying plans out: fills of constructors that theirs replace are dropped, others run before.

        Args:
            work: the plans, with the parameters that they are about to write.
            final: whether nothing may be pending afterwards.
            draws: whether a number will be drawn from torch's generator.
        """
        if self.deferrer is None:
            yield
            return
        with self.deferrer.aside() as records:
            extents: Extents = {}
            for plan, targets in work if records else ():
                _put_replaced(plan, targets, records, extents)
            dropped = records.drop(extents)
            if final or self._is_own or any(_runs_code(plan) for plan, _ in work):
                records.run_all()
            else:
                # What is left where a plan writes, or looks; the rest waits for the block around.
                records.run_for(set(_written(work)))
                if draws:
                    records.run_draws()
            try:
                yield
            except BaseException:
                written: Extents = {}
                for _, targets in work:
                    for fqn in targets.written:
                        put_extent(written, targets.params[fqn])
                records.run_those([record for record in dropped if not lies_in(record.tensor, written)])
                raise


def _put_replaced(plan: Plan, targets: Targets, records: Records, extents: Extents) -> None:
    """Add the memory with something pending that a plan overwrites before anybody can look at it."""
    first_code = min((step.rank for step in plan.steps if not isinstance(step, Load)), default=(math.inf,))
    for fqn, entry in plan.items():
        param = targets.params[fqn]
        if fqn in targets.weights or is_lazy(param) or not is_plain(param) or storage_of(param) not in records:
            continue
        if entry.kept is None and entry.rank < first_code and _overwrites(entry):
            put_extent(extents, param)


def _written(work: Work) -> Iterator[int]:
    """The pieces of memory that plans write to."""
    for plan, targets in work:
        for fqn, entry in plan.items():
            param = targets.params[fqn]
            if entry.rule is not None and entry.kept is None and not is_lazy(param) and is_plain(param):
                yield storage_of(param)


def _overwrites(entry: Entry) -> bool:
    if entry.fill is not None:
        return not _looks(entry.fill)
    return entry.rule is not None and loads_rule(entry.rule)


def _looks(fill: Fill) -> bool:
    """Whether a fill may look at what is there: a user's function works on a copy of it."""
    return isinstance(fill, Custom) or (isinstance(fill, Blocks) and any(map(_looks, fill.fills)))


def _runs_code(plan: Plan) -> bool:
    return any(not isinstance(step, Load) for step in plan.steps)
