"""Postponed fills in program order: running them for a storage, up to a draw, or all; dropping them."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from types import ModuleType

import torch
from torch import Tensor

from .. import _torch
from .content import outside
from .memory import NO_FILLS, NO_STORAGE, NO_TENSOR, UNSEEN, Fill, Memory, Region

ACCELERATORS: tuple[tuple[ModuleType, ModuleType], ...] = tuple(
    (module, module.random)
    for module, is_built in ((torch.cuda, torch.version.cuda or torch.version.hip), (torch.xpu, torch.version.xpu))
    if is_built
)
"""Device modules of this build of torch with generators, and the modules that define their functions for them."""

_number = attrgetter("number")


class Postponed:
    """Postponed fills in program order.

    Fills that draw run in that order, and before any other draw, so each gets the numbers that it would have got. If
    the program sets the generator meanwhile (`torch.manual_seed`), they run from its earlier state.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._pending: dict[int, Memory] = {}  # Storages with postponed fills, by key.
        self.draws: dict[int, Fill] = {}  # Fills that draw, by number, in program order.
        self._states: dict[torch.device, Tensor] = {}
        """States of the default generators at the first of the postponed draws."""
        self._next_sweep = 64

    def __bool__(self) -> bool:
        return bool(self._pending or self.draws)

    def __contains__(self, key: int) -> bool:
        """True if a storage has postponed fills."""
        return key in self._pending

    def add(self, fill: Fill, tensor: Tensor, *, in_operator: bool = False) -> None:
        """Postpone a fill of a tensor; `in_operator` in the handler of a dispatch mode."""
        fill.number, memory = next(self._numbers), fill.memory
        if fill.operator.draws:
            state = generator_of(fill.device).get_state()
            if fill.device in self._states and not is_same(self._states[fill.device], state):
                self.run_draws()
            self._states.setdefault(fill.device, state)
            self.draws[fill.number] = fill
        if not memory.fills:
            self._pending[memory.key] = memory
            memory.storage = tensor.untyped_storage()
            memory.witness = _torch.shares_version(tensor, in_operator=in_operator)
            memory.version_before = _torch.version_of(memory.witness)
            memory.checksum, memory.fills = None, {}
        memory.fills[fill.number] = fill
        if len(self._pending) >= self._next_sweep:
            self._void_what_is_gone()
            self._next_sweep = max(64, 2 * len(self._pending))

    def run_for(self, keys: Collection[int]) -> None:
        """Run the fills of some storages, and all draws before the last of these fills."""
        memories = [self._pending[key] for key in keys if key in self._pending]
        for memory in memories:
            fills = list(memory.fills.values())
            for at, fill in enumerate(fills):
                if any(later.operator.overwrites and later.region.covers(fill.region) for later in fills[at + 1 :]):
                    self._void([fill])
        due = [fill for memory in memories for fill in memory.fills.values()]
        self._run([*due, *self._before(max((fill.number for fill in due if fill.operator.draws), default=-1))])

    def run_draws(self) -> None:
        """Run all fills that draw, before another draw."""
        if self.draws:
            self._run(self._before(next(reversed(self.draws))))

    def run_all(self) -> None:
        if self:
            fills = (fill for memory in self._pending.values() for fill in memory.fills.values())
            self._run([*self.draws.values(), *fills])

    def run_those(self, fills: Iterable[Fill], tensors: Mapping[int, Tensor]) -> None:
        """Run fills that were dropped."""
        for fill in fills:
            self.add(fill, tensors[fill.memory.key])
        self.run_all()

    def drop(self, regions: Mapping[int, Sequence[Region]]) -> list[Fill]:
        """Forget the fills of regions that will be overwritten, by storage; returns them in program order."""
        if not self:
            return []
        pending = [self._pending[key] for key in regions if key in self._pending]
        dropped = [fill for memory in pending for fill in memory.fills.values() if fill.lies_in(regions)]
        dropped.sort(key=_number)
        self._take(dropped)
        devices = {fill.device for fill in dropped if fill.operator.draws}
        if devices:
            # Later draws on these devices get other numbers anyway, so draws without effect are skipped.
            self._void_what_is_gone()
            self._take([fill for fill in self.draws.values() if fill.is_void and fill.device in devices])
        if not self.draws:
            self._states.clear()
        return dropped

    def _before(self, last: int) -> list[Fill]:
        """All draws up to a number, with the other fills of the same storages up to it."""
        draws = list(itertools.takewhile(lambda fill: fill.number <= last, self.draws.values()))
        memories = {fill.memory for fill in draws if not fill.is_void}
        fills = [fill for memory in memories for fill in memory.fills.values() if fill.number <= last]
        return [*draws, *fills]

    def _void_what_is_gone(self) -> None:
        self._void([fill for memory in self._pending.values() if memory.is_gone for fill in memory.fills.values()])

    def _void(self, fills: Sequence[Fill]) -> None:
        """Forget fills whose values will be overwritten; the generator still advances for those that draw."""
        self._take(fills, their_draws=False)
        for fill in fills:
            fill.is_void = True

    def _take(self, fills: Sequence[Fill], *, their_draws: bool = True) -> None:
        """Remove fills, also from the draws unless the generator still has to advance for them."""
        for fill in fills:
            memory = fill.memory
            if memory.fills.pop(fill.number, None) is not None:
                memory.version_before += _torch.version_of(memory.witness) > memory.version_before
                if not memory.fills:
                    del self._pending[memory.key]
                    memory.fills, memory.storage, memory.witness = NO_FILLS, NO_STORAGE, NO_TENSOR
            if their_draws:
                self.draws.pop(fill.number, None)

    def _run(self, due: Iterable[Fill]) -> None:
        """Run fills in program order, from the states that the generators had when they were postponed."""
        fills = sorted({fill.number: fill for fill in due}.values(), key=_number)
        if not fills:
            return
        witnesses = {fill.memory: fill.memory.witness for fill in fills if not fill.is_void}
        storages = {memory: memory.storage for memory in witnesses if self._has_effect(memory)}
        # Removed first, so that no fill runs twice after an error.
        self._take(fills)
        errors = []
        with _torch.no_modes(), self._from_where_draws_begin(any(fill.operator.draws for fill in fills)):
            for fill in fills:
                storage = None if fill.is_void else storages.get(fill.memory)
                if storage is not None or fill.operator.draws:
                    try:
                        fill.apply(storage)
                    except Exception as error:  # Of any kind: the fills after it must still run.
                        errors.append(error)
            for memory, witness in witnesses.items():
                memory.accept(witness)
        if errors:
            raise errors[0]

    @staticmethod
    def _has_effect(memory: Memory) -> bool:
        """True if fills of a storage have an effect: it is in use, and no unobserved write came after them."""
        if _torch.version_of(memory.witness) - memory.version_before > len(memory.fills):
            memory.write(memory.writes[-1].region, outside(UNSEEN))
            return False
        return not memory.is_gone

    @contextmanager
    def _from_where_draws_begin(self, draws: bool) -> Iterator[None]:
        """Context in which generators that the program has set meanwhile have their earlier states."""
        if not draws:
            yield
            return
        before, self._states = self._states, {}
        now = {device: generator_of(device).get_state() for device in before}
        was_set = [device for device, state in before.items() if not is_same(state, now[device])]
        for device in was_set:
            generator_of(device).set_state(before[device])
        try:
            yield
        finally:
            if self.draws:
                self._states |= {device: generator_of(device).get_state() for device in before}
            for device in was_set:
                generator_of(device).set_state(now[device])


def generator_of(device: torch.device) -> torch.Generator:
    """The default generator of a device on which there are tensors."""
    if device.type == "cpu":
        return torch.default_generator
    generators: Sequence[torch.Generator] = torch.get_device_module(device).default_generators
    return generators[device.index]


def is_same(one: Tensor, other: Tensor) -> bool:
    """Compare two generator states, faster than `torch.equal`: it is done at each draw."""
    return ctypes.string_at(one.data_ptr(), one.numel()) == ctypes.string_at(other.data_ptr(), other.numel())


def is_in_order(device: torch.device) -> bool:
    """True if fills of a device may be postponed: its generator is known, and the default stream is current.

    On another stream a postponed fill would run beside the user's own work.
    """
    if device.type == "cpu":
        return True
    module = next((module for module, _ in ACCELERATORS if module.__name__ == f"torch.{device.type}"), None)
    return module is not None and bool(module.current_stream(device) == module.default_stream(device))
