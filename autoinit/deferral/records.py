"""Fills that are pending: on which memory, in which order, and how they are run."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .extents import Extents, extent_of, lies_in
from .guards import Guard
from .stack import unwatched


@dataclass(eq=False, slots=True)
class Record:
    """One fill.

    Args:
        function: what was called.
        tensor: what it fills: a parameter's memory, or a view of it.
        storage: that memory.
        guard: what looks after it.
        args: the rest of its arguments: numbers.
        kwargs: likewise.
        draws: whether it draws from torch's default generator.
        overwrites: whether nothing is left of what was in `tensor`.
    """

    function: Callable[..., Any]
    tensor: Tensor
    storage: int
    guard: Guard
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    draws: bool
    overwrites: bool
    is_void: bool = False
    """Whether only its draws are wanted any more, for the sake of those that come after it."""
    number: int = -1
    """Its place in the order of the program, once it is pending."""
    writes: int = -1
    """How many writes, but for those of fills that were pending, its memory had seen before."""

    def covers(self, other: Record) -> bool:
        """Whether nothing is left of what another fill of the same memory did before."""
        if not self.overwrites:
            return False
        (first, last), (start, end) = extent_of(self.tensor), extent_of(other.tensor)
        is_dense = self.tensor.numel() * self.tensor.element_size() == last - first
        return is_dense and first <= start and end <= last


class Records:
    """Pending fills in the order of the program.

    Fills that draw are run in that order, and before anybody else draws: so that each gets the numbers that it would
    have got. Where the generator was set meanwhile (`torch.manual_seed`), they are run from where it stood.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._pending: dict[int, list[Record]] = {}
        """By the piece of memory that they fill; without those that have none."""
        self._draws: list[Record] = []
        """Those of them that draw."""
        self._state: Tensor | None = None
        """Of the default generator, where the first of the pending draws begins."""

    def __len__(self) -> int:
        return sum(map(len, self._pending.values()))

    def __bool__(self) -> bool:
        return bool(self._pending or self._draws)

    def __contains__(self, storage: int) -> bool:
        """Whether a piece of memory has something pending."""
        return storage in self._pending

    def add(self, record: Record) -> None:
        """Record a fill as the latest."""
        if record.draws:
            state = torch.default_generator.get_state()
            if self._state is not None and not _is_same(self._state, state):
                self.run_draws()
            if self._state is None:
                self._state = state
            self._draws.append(record)
        record.number = next(self._numbers)
        if record.storage not in self._pending:
            self._pending[record.storage] = []
            record.guard.begin()
        record.writes = record.guard.writes
        self._pending[record.storage].append(record)

    def run_for(self, storages: Collection[int]) -> None:
        """Bring some memory up to date: run its own fills, and the draws that come before its last."""
        storages = [storage for storage in storages if storage in self._pending]
        self._void({record for storage in storages for record in self._overwritten(storage)})
        due = [record for storage in storages for record in self._pending.get(storage, ())]
        last = max((record.number for record in due if record.draws), default=-1)
        self._run([*due, *self._before(last, besides=storages)])

    def run_draws(self) -> None:
        """Run everything that draws, because somebody else is about to."""
        if self._draws:
            self._run(self._before(self._draws[-1].number))

    def run_all(self) -> None:
        """Run everything."""
        void = [record for record in self._draws if record.is_void]
        self._run([*void, *(record for records in self._pending.values() for record in records)])

    def run_those(self, records: list[Record]) -> None:
        """Run fills that were dropped, after all."""
        for record in records:
            self.add(record)
        self.run_all()

    def drop(self, extents: Extents) -> list[Record]:
        """Forget the fills of memory that will be overwritten; gives them, in their order."""
        touched = [record for storage in extents for record in self._pending.get(storage, ())]
        dropped = sorted((record for record in touched if lies_in(record.tensor, extents)), key=_number)
        self._take(dropped)
        self._release(dropped)
        if not self._draws:
            self._state = None
        return dropped

    def _before(self, last: int, besides: Collection[int] = ()) -> list[Record]:
        """All draws up to a number, with what else was filled there before it."""
        before = [record for record in self._draws if record.number <= last]
        drawn = {record.storage for record in before if not record.is_void}.difference(besides)
        filled = [record for storage in drawn for record in self._pending[storage] if record.number <= last]
        return [*filled, *(record for record in before if record.is_void)]

    def _overwritten(self, storage: int) -> Iterator[Record]:
        """The fills of a piece of memory of which later ones leave nothing."""
        records = self._pending.get(storage, [])
        for index, record in enumerate(records):
            if any(later.covers(record) for later in records[index + 1 :]):
                yield record

    def _void(self, records: Collection[Record]) -> None:
        """Forget fills of which nothing would be left, but for the numbers that they draw."""
        if records:
            draws = self._draws
            self._take(list(records))
            self._draws = [record for record in draws if record.draws]
            for record in records:
                record.is_void = True
                record.tensor = torch.empty_like(record.tensor, device="meta")

    def _run(self, due: list[Record]) -> None:
        """Run fills in their order, with the generator as it stood when they were made."""
        if not due:
            return
        unused = self._unused({record.storage for record in due if not record.is_void})
        # First of all, so that an error leaves nothing to be run a second time.
        self._take(due)
        with unwatched(), self._from_where_draws_begin(any(record.draws for record in due)):
            errors = []
            for record in sorted(due, key=_number):
                try:
                    self._fill(record, is_seen=not record.is_void and record.storage not in unused)
                except Exception as error:  # Those after it must not be left unfilled.
                    errors.append(error)
        self._release(due)
        if errors:
            raise errors[0]

    def _unused(self, storages: Collection[int]) -> set[int]:
        """The memory that nobody can look at any more: of parameters that have been replaced."""
        pending = {storage: self._pending[storage] for storage in storages}
        return {storage for storage, records in pending.items() if records[0].guard.is_alone(storage, len(records))}

    def _fill(self, record: Record, *, is_seen: bool) -> None:
        if is_seen and record.guard.writes == record.writes:
            before = record.guard.version
            record.function(record.tensor, *record.args, **record.kwargs)
            record.guard.own += record.guard.version - before
        elif record.draws:
            # Somebody wrote there whom we did not see, and what he wrote stays; or nobody has it any more. The numbers
            # are drawn all the same, for those after them to be what they would be.
            record.function(torch.empty_like(record.tensor, device="cpu"), *record.args, **record.kwargs)

    def _release(self, done: list[Record]) -> None:
        for record in done:
            if record.storage not in self._pending:
                record.guard.end()

    @contextmanager
    def _from_where_draws_begin(self, draws: bool) -> Iterator[None]:
        """Where the generator was set meanwhile, a stretch in which it stands where it stood before."""
        state = self._state
        if not draws or state is None:
            yield
            return
        now = torch.default_generator.get_state()
        self._state = None
        was_set = not _is_same(state, now)
        if was_set:
            torch.default_generator.set_state(state)
        try:
            yield
        finally:
            if self._draws:
                self._state = torch.default_generator.get_state()
            if was_set:
                torch.default_generator.set_state(now)

    def _take(self, records: list[Record]) -> None:
        """Take fills off the list."""
        gone = {record.number for record in records}
        for storage in {record.storage for record in records if not record.is_void}:
            left = [record for record in self._pending[storage] if record.number not in gone]
            if left:
                self._pending[storage] = left
            else:
                del self._pending[storage]
        if any(record.draws for record in records):
            self._draws = [record for record in self._draws if record.number not in gone]


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether two states of a generator are the same: asked at each draw, where `torch.equal` is slow."""
    return _bytes(one) == _bytes(other)


def _bytes(state: Tensor) -> bytes:
    return ctypes.string_at(state.data_ptr(), state.numel())


def _number(record: Record) -> int:
    return record.number
