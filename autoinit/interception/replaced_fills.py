"""The postponed fills of constructors that the plans of a block replace: they are never run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeGuard

from torch import Tensor
from torch.nn.parameter import is_lazy

from .. import _torch
from ..applying import Application
from ..construction import Postponed, Region, has_memory, plain
from ..fills import calls_function
from ..planning import Entry, Load, Plan, loads_rule
from .scope import Run


@contextmanager
def without_replaced_fills(scope: Run, applications: Sequence[Application], *, ends: bool) -> Iterator[None]:
    """Around applying plans: postponed fills that they replace are dropped, others run before.

    The construction record notes meanwhile which block fills. If the code in this context fails, the dropped fills
    run after all. If the block goes on, nothing stays postponed.
    """
    if scope.watch is None:
        yield
        return
    postponed, record = scope.watch.postponed, scope.watch.record
    dropped = postponed.drop(_regions(_replaced(applications, postponed))) if postponed else []
    runs_code = any(not isinstance(step, Load) for each in applications for step in each.plan.steps)
    if runs_code or scope.owns_watch or not ends:
        postponed.run_all()
    else:
        # What remains where a plan writes or reads; the other fills wait for the block around.
        scope.watch.flush(_written(applications))
        if scope.seed is None and any(draws(each.plan) for each in applications):
            postponed.run_draws()
    before, record.writer = record.writer, id(scope)
    try:
        yield
    except BaseException:
        written = _regions(tensor for each in applications for tensor in each.memory(each.outcomes))
        params = (param for each in applications for param in each.targets.params.values())
        tensors = {_torch.storage_id(param): param for param in params if is_plain(param)}
        postponed.run_those([fill for fill in dropped if not fill.lies_in(written)], tensors)
        raise
    finally:
        record.writer = before


def draws(plan: Plan) -> bool:
    """Whether a plan draws any value."""
    return any(entry.fill is not None and entry.fill.is_random for entry in plan.values())


def is_plain(value: object) -> TypeGuard[Tensor]:
    """Whether a value is a tensor with memory of its own in this process."""
    return isinstance(value, Tensor) and not is_lazy(value) and plain(value) is value and has_memory(value)


def _regions(tensors: Iterable[Tensor]) -> dict[int, list[Region]]:
    """The memory of tensors, by storage."""
    regions: dict[int, list[Region]] = {}
    for tensor in tensors:
        regions.setdefault(_torch.storage_id(tensor), []).append(Region.of(tensor))
    return regions


def _replaced(applications: Sequence[Application], postponed: Postponed) -> Iterator[Tensor]:
    """The tensors with postponed fills that a plan overwrites before any code can read them."""
    for each in applications:
        first_code = min((step.rank for step in each.plan.steps if not isinstance(step, Load)), default=(math.inf,))
        for fqn, entry in each.plan.items():
            param = each.targets.params[fqn]
            if fqn in each.targets.weights or not is_plain(param) or _torch.storage_id(param) not in postponed:
                continue
            if entry.kept is None and entry.rank < first_code and _overwrites(entry):
                yield param


def _written(applications: Sequence[Application]) -> Iterator[Tensor]:
    """The tensors that plans write to."""
    for each in applications:
        for fqn, entry in each.plan.items():
            if entry.rule is not None and entry.kept is None:
                yield from filter(is_plain, each.targets.tensors(fqn))


def _overwrites(entry: Entry) -> bool:
    if entry.fill is not None:
        return not calls_function(entry.fill)
    return entry.rule is not None and loads_rule(entry.rule)
