"""Fills that are not done yet: on which memory, in which order, and which of them have to be done by when."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from operator import attrgetter

import torch
from torch import Tensor

from .. import _torch
from .generators import is_same, set_state, state_of
from .memory import Memory, Region
from .postponed_fill import Fill

_number = attrgetter("number")


@dataclass(eq=False, slots=True)
class Held:
    """Memory with postponed fills, which is kept alive until they are done.

    Args:
        storage: the memory. Asking a tensor for it later would be taken for a read by code that is not watched.
        witness: a tensor with that memory, and with the version counter of the first tensor that was filled.
        before: what it counted then.
        fills: the fills, in their order.
    """

    storage: torch.UntypedStorage
    witness: Tensor
    before: int
    fills: list[Fill]

    @property
    def was_written_unseen(self) -> bool:
        """Whether the version counter rose more often than fills were postponed."""
        return _torch.version_of(self.witness) - self.before > len(self.fills)

    @property
    def is_dropped(self) -> bool:
        """Whether nothing but this refers to the memory any more."""
        return _torch.uses_of(self.storage) <= _USES_WHEN_DROPPED


class Postponed:
    """Postponed fills in the order of the program.

    Fills that draw are done in that order, and before any other draw: each gets the numbers that it would have got.
    Where the generator was set meanwhile (`torch.manual_seed`), they are done from where it stood.

    Args:
        on_unseen: is called with memory that was written by code that is not watched.
    """

    def __init__(self, on_unseen: Callable[[Memory], None]) -> None:
        self._numbers = itertools.count()
        self._held: dict[int, Held] = {}
        self._draws: dict[int, Fill] = {}
        """Those that draw, by number, in their order."""
        self._states: dict[torch.device, Tensor] = {}
        """Of the default generators, where the first of the postponed draws begins."""
        self._on_unseen = on_unseen
        self._next_sweep = 64

    def __len__(self) -> int:
        return sum(len(held.fills) for held in self._held.values())

    def __bool__(self) -> bool:
        return bool(self._held or self._draws)

    @property
    def has_draws(self) -> bool:
        """Whether any of them draws."""
        return bool(self._draws)

    def __contains__(self, key: int) -> bool:
        """Whether a storage has postponed fills."""
        return key in self._held

    def add(self, fill: Fill, tensor: Tensor, *, in_operator: bool = False) -> None:
        """Postpone a fill of a tensor, which is the latest; `in_operator` while a dispatch mode handles it."""
        fill.number = next(self._numbers)
        if fill.operator.draws:
            self._note_state(fill.options["device"])
            self._draws[fill.number] = fill
        held = self._held.get(fill.memory.key)
        if held is None:
            witness = _torch.shares_version(tensor, in_operator=in_operator)
            held = self._held[fill.memory.key] = Held(tensor.untyped_storage(), witness, _torch.version_of(witness), [])
            fill.memory.pending = True
            fill.memory.forget_values()
        held.fills.append(fill)
        if len(self._held) >= self._next_sweep:
            self._void_what_is_gone()
            self._next_sweep = max(64, 2 * len(self._held))

    def _note_state(self, device: torch.device) -> None:
        state = state_of(device)
        if device in self._states and not is_same(self._states[device], state):
            self.run_draws()
        self._states.setdefault(device, state)

    def run_for(self, keys: Collection[int]) -> None:
        """Bring some storages up to date: do their fills, and the draws that come before the last of those."""
        held = [self._held[key] for key in keys if key in self._held]
        if held:
            self._void([fill for each in held for fill in _overwritten(each.fills)])
            due = [fill for each in held for fill in each.fills]
            last = max((fill.number for fill in due if fill.operator.draws), default=-1)
            self._run({id(fill): fill for fill in (*due, *self._before(last))}.values())

    def run_draws(self) -> None:
        """Do everything that draws, because something else is about to draw."""
        if self._draws:
            self._run(self._before(next(reversed(self._draws))))

    def run_all(self) -> None:
        """Do everything."""
        void = (fill for fill in self._draws.values() if fill.is_void)
        self._run([*void, *(fill for held in self._held.values() for fill in held.fills)])

    def run_those(self, fills: Iterable[Fill], tensors: Mapping[int, Tensor]) -> None:
        """Do fills that were dropped, after all."""
        for fill in fills:
            self.add(fill, tensors[fill.memory.key])
        self.run_all()

    def drop(self, regions: Mapping[int, Sequence[Region]]) -> list[Fill]:
        """Forget the fills of memory that will be overwritten, by storage; returns them in their order."""
        dropped = [
            fill
            for key, parts in regions.items()
            if key in self._held
            for fill in self._held[key].fills
            if fill.lies_in({key: parts})
        ]
        dropped.sort(key=_number)
        self._take(dropped)
        devices = {fill.options["device"] for fill in dropped if fill.operator.draws}
        if devices:
            # Later draws on these devices get other numbers anyhow, so draws without effect can be skipped.
            self._void_what_is_gone()
            kept = {
                n: fill for n, fill in self._draws.items() if not (fill.is_void and fill.options["device"] in devices)
            }
            self._draws = kept
        if not self._draws:
            self._states.clear()
        return dropped

    def _before(self, last: int) -> list[Fill]:
        """All draws up to a number, with what else was filled in the same memory before it."""
        before = list(takewhile(lambda fill: fill.number <= last, self._draws.values()))
        keys = {fill.memory.key for fill in before if not fill.is_void}
        filled = [fill for key in keys for fill in self._held[key].fills if fill.number <= last]
        return [*filled, *(fill for fill in before if fill.is_void)]

    def _void_what_is_gone(self) -> None:
        self._void(fill for held in self._held.values() if held.is_dropped for fill in held.fills)

    def _void(self, fills: Iterable[Fill]) -> None:
        """Forget fills of which nothing would be left, but for the numbers that they draw."""
        fills = list(fills)
        self._take(fills, their_draws=False)
        for fill in fills:
            fill.is_void = True

    def _run(self, due: Collection[Fill]) -> None:
        """Do fills in their order, with the generator as it stood when they were postponed."""
        if not due:
            return
        held = {key: self._held[key] for key in {fill.memory.key for fill in due if not fill.is_void}}
        skipped = {key for key, each in held.items() if self._is_left_alone(each)}
        # First of all, so that an error leaves nothing to be done a second time.
        self._take(list(due))
        errors = []
        with _torch.no_modes(), self._from_where_draws_begin(any(fill.operator.draws for fill in due)):
            for fill in sorted(due, key=_number):
                is_alive = not fill.is_void and fill.memory.key not in skipped
                if is_alive or fill.operator.draws:
                    try:
                        fill.apply(held[fill.memory.key].storage if is_alive else None)
                    except Exception as error:  # Those after it must not be left undone.
                        errors.append(error)
            for each in held.values():
                each.fills[0].memory.note_values(each.witness)
        if errors:
            raise errors[0]

    def _is_left_alone(self, held: Held) -> bool:
        """Whether the fills of some memory have no effect: it was written by something unseen, or it is gone."""
        if held.was_written_unseen:
            self._on_unseen(held.fills[0].memory)
            return True
        return held.is_dropped

    @contextmanager
    def _from_where_draws_begin(self, draws: bool) -> Iterator[None]:
        """Where a generator was set meanwhile, a stretch in which it stands where it stood before."""
        if not draws or not self._states:
            yield
            return
        before, self._states = self._states, {}
        now = {device: state_of(device) for device in before}
        was_set = [device for device, state in before.items() if not is_same(state, now[device])]
        for device in was_set:
            set_state(device, before[device])
        try:
            yield
        finally:
            self._states |= {device: state_of(device) for device in before if self._draws}
            for device in was_set:
                set_state(device, now[device])

    def _take(self, fills: Sequence[Fill], *, their_draws: bool = True) -> None:
        """Take fills off the list, and out of the order of draws unless the numbers that they draw still matter."""
        gone = {fill.number for fill in fills}
        for memory in {fill.memory for fill in fills if not fill.is_void}:
            held = self._held[memory.key]
            left = [fill for fill in held.fills if fill.number not in gone]
            if left:
                held.before += len(held.fills) - len(left) if _torch.version_of(held.witness) > held.before else 0
                held.fills = left
            else:
                del self._held[memory.key]
                memory.pending = False
        if their_draws:
            for number in gone:
                self._draws.pop(number, None)


def _overwritten(fills: Sequence[Fill]) -> Iterator[Fill]:
    """The fills of one piece of memory of which later ones leave nothing."""
    for index, fill in enumerate(fills):
        if any(later.covers(fill) for later in fills[index + 1 :]):
            yield fill


def _uses_when_dropped() -> int:
    """What torch counts for memory that only a `Held` refers to."""
    tensor = torch.empty(1, device="cpu")
    held = Held(tensor.untyped_storage(), tensor.detach(), 0, [])
    del tensor
    return _torch.uses_of(held.storage)


_USES_WHEN_DROPPED = _uses_when_dropped()
