"""The construction record of one block, and which of the fills that constructors do are never done."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import FrameType
from typing import TypeGuard

from torch import Tensor
from torch.nn.parameter import is_lazy

from .. import _torch
from ..applying import Application
from ..construction import ConstructionRecord, Content, Postponed, Region, Watch, has_memory, plain
from ..fills import Blocks, Custom, Fill, Padded
from ..planning import ENGINES, Entry, Load, Plan, loads_rule


class Deferral:
    """What one block has to do with the watch over constructions, which it may share with the block around it.

    Args:
        defer: whether the block defers fills.
        has_rules: whether the block has rules. One without them watches only where modules may bring their own.
        outer: of the block around this one, in the same thread or task.
        is_here: whether the running code is the block's.
    """

    def __init__(self, defer: bool, has_rules: bool, outer: Deferral | None, is_here: Callable[[], bool]) -> None:
        self._defer = defer
        self._make = partial(Watch, is_here, may_postpone=defer and has_rules)
        self.watch: Watch | None = outer.watch if outer is not None else None
        self._is_own = self.watch is None
        if self._is_own and (has_rules or any(name in sys.modules for name in ENGINES)):
            self.watch = self._make()

    def want(self) -> None:
        """Watch from now on: a module of the block has rules of its own."""
        if self.watch is None:
            self.watch = self._make()
            self.begin()

    def begin(self) -> None:
        """Watch; nothing of a block around is postponed in one that does not defer."""
        if self.watch is not None:
            self.watch.users += 1
            self.watch.begin()
            if not self._defer and not self._is_own:
                self.watch.stop_postponing()

    def end(self) -> None:
        """With the outermost block that watches, nothing is postponed any more, and nothing is watched."""
        if self.watch is not None:
            self.watch.users -= 1
            if not self.watch.users:
                self.watch.end()
            elif self._is_own:  # An inner block goes on, which was entered in the wrong order.
                self.watch.postponed.run_all()

    def content(self, tensor: Tensor) -> Content | None:
        """What a tensor holds; None if nothing was written to it, or if nothing was watched."""
        return self.watch.record.content(tensor) if self.watch is not None else None

    def aside(self) -> AbstractContextManager[object]:
        """A stretch in which models are looked at for anything but their values: nothing is brought up to date."""
        return nullcontext() if self.watch is None else self.watch.aside()

    @contextmanager
    def signed(self, writer: int) -> Iterator[None]:
        """A stretch in which the record says of what autoinit fills who has filled it."""
        record = self.watch.record if self.watch is not None else ConstructionRecord()
        before, record.writer = record.writer, writer
        try:
            yield
        finally:
            record.writer = before

    @contextmanager
    def replaced(self, applications: Sequence[Application], *, final: bool, draws: bool) -> Iterator[None]:
        """Around applying plans: fills of constructors that theirs replace are dropped, others run before.

        Args:
            applications: What is about to be applied.
            final: whether nothing may be postponed afterwards.
            draws: whether a number will be drawn from torch's generator.
        """
        if self.watch is None:
            yield
            return
        with self.watch.aside() as postponed:
            dropped = postponed.drop(_regions(_replaced(applications, postponed)))
            if final or self._is_own or any(_runs_code(each.plan) for each in applications):
                postponed.run_all()
            else:
                # What is left where a plan writes, or looks; the rest waits for the block around.
                self.watch.flush(_written(applications))
                if draws:
                    postponed.run_draws()
            try:
                yield
            except BaseException:
                written = _regions(tensor for each in applications for tensor in each.written)
                params = (param for each in applications for param in each.targets.params.values())
                tensors = {_torch.storage_id(param): param for param in params if is_plain(param)}
                postponed.run_those([fill for fill in dropped if not fill.lies_in(written)], tensors)
                raise


def declare_loaded(
    watch: Watch, state: Mapping[str, object], tensors: Iterable[Tensor], reason: str, frame: FrameType
) -> None:
    """Note that what a state dict holds is data, but for some tensors of the block's own models and copies of those."""
    with watch.aside():
        record = watch.record
        own = {id(content.whole.original) for content in map(record.content, tensors) if content is not None}
        for value in filter(is_plain, state.values()):
            content = record.content(value)
            if content is None or content.is_data:
                continue
            if not any(id(each) in own for each in content.ancestors()):
                record.declare(value, reason, frame)


def is_plain(value: object) -> TypeGuard[Tensor]:
    """Whether a value is a tensor with memory of its own in this process."""
    return isinstance(value, Tensor) and not is_lazy(value) and plain(value) is value and has_memory(value)


def _regions(tensors: Iterable[Tensor]) -> dict[int, list[Region]]:
    """Which memory tensors have, by storage."""
    regions: dict[int, list[Region]] = {}
    for tensor in tensors:
        regions.setdefault(_torch.storage_id(tensor), []).append(Region.of(tensor))
    return regions


def _replaced(applications: Sequence[Application], postponed: Postponed) -> Iterator[Tensor]:
    """The tensors with postponed fills that a plan overwrites before any code can read them."""
    for each in applications if postponed else ():
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
        return not _reads(entry.fill)
    return entry.rule is not None and loads_rule(entry.rule)


def _reads(fill: Fill) -> bool:
    """Whether a fill may read what is there, as a user's function may."""
    if isinstance(fill, Padded):
        return _reads(fill.fill)
    return isinstance(fill, Custom) or (isinstance(fill, Blocks) and any(map(_reads, fill.fills)))


def _runs_code(plan: Plan) -> bool:
    return any(not isinstance(step, Load) for step in plan.steps)
