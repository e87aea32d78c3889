"""Every write to every storage of a construction, in order, each with the call that it came from."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from .. import _torch
from ..construction import AUTOINIT, Content, Region
from ..construction.memory import Values, Write
from ..sampling.truncation import float32
from .call_frames import FunctionCall, Origin, origin_of

MOST = 64
"""Calls that are kept for one storage: the first and the last ones, where training in the block makes more."""
FEW = 16
"""Numbers of a list that are kept."""


@dataclass(eq=False)
class Event:
    """The writes of one call to one region.

    Args:
        region: What they wrote.
        contents: What each left there; the last one is what the call left.
        origin: Where they came from.
    """

    region: Region
    contents: list[Content]
    origin: Origin

    @property
    def content(self) -> Content:
        """What the call left."""
        return self.contents[-1]

    def is_read_by(self, later: Event) -> bool:
        """Whether the values that a later call wrote were computed from these."""
        return any(each in self.contents for each in later.content.ancestors() if each is not later.content)


class History:
    """The writes of a construction by storage, those that were never carried out included.

    It holds no tensor: storages that were freed are dropped. What was computed from their values still refers to what
    was known of these.
    """

    def __init__(self) -> None:
        self._storages: dict[int, tuple[StorageWeakRef, list[Event]]] = {}
        """While a reference is there, no other storage comes to have the same address."""
        self._next_sweep = 1024
        self.functions: dict[Content, tuple[FunctionCall, ...]] = {}
        """The functions, such as `orthogonal_`, that wrote contents, the innermost first."""
        self.numbers: dict[Content, tuple[float, ...]] = {}
        """What torch made from a few numbers of Python."""

    def note(self, tensor: Tensor, region: Region, values: Values) -> None:
        """Note a write to a tensor."""
        writes = [Write(region, values)] if isinstance(values, Content) else values or ()
        is_own = isinstance(values, Content) and values.operator == AUTOINIT
        origin = origin_of(sys._getframe(1), tensor) if writes and not is_own else Origin()
        for each in writes:
            self._add(self._events_of(tensor), each, origin)
        if isinstance(values, Content) and values.operator == "numbers" and _is_readable(tensor):
            self.numbers[values] = tuple(map(_shortest, tensor.detach().reshape(-1).tolist()))

    def _add(self, events: list[Event], write: Write, origin: Origin) -> None:
        if origin.functions:
            self.functions[write.content] = origin.functions
        if events and origin.key and events[-1].origin.key == origin.key:
            last = events[-1]
            last.contents.append(write.content)
            last.region = write.region if write.region.covers(last.region) else last.region
            return
        events.append(Event(write.region, [write.content], origin))
        if len(events) > MOST:
            del events[MOST // 2]

    def _events_of(self, tensor: Tensor) -> list[Event]:
        key = _torch.storage_id(tensor)
        if key not in self._storages or self._storages[key][0].expired():  # type: ignore[no-untyped-call]
            self._storages[key] = StorageWeakRef(tensor.untyped_storage()), []  # type: ignore[no-untyped-call]
            if len(self._storages) >= self._next_sweep:
                living = {at: each for at, each in self._storages.items() if not each[0].expired()}  # type: ignore[no-untyped-call]
                self._storages, self._next_sweep = living, max(1024, 2 * len(living))
        return self._storages[key][1]

    def of(self, tensor: Tensor) -> list[Event]:
        """The writes to the storage of a tensor that meet the tensor, in order."""
        found, region = self._storages.get(_torch.storage_id(tensor)), Region.of(tensor)
        # A region without bytes meets none.
        return [each for each in found[1] if each.region.meets(region) or each.region == region] if found else []


def _is_readable(tensor: Tensor) -> bool:
    """Whether a tensor is on the CPU, small, not complex and not fake, so that its values can be read."""
    return tensor.is_cpu and not _torch.is_fake(tensor) and tensor.numel() <= FEW and not tensor.is_complex()


def _shortest(value: float) -> float:
    """The number that a float32 was made from: 0.1, not 0.10000000149011612."""
    return next((short for n in range(1, 10) if float32(short := float(f"{value:.{n}g}")) == value), float(value))
