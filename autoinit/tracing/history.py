"""Every write to every storage of a construction, in order, each with the call that it came from."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from .. import _torch
from ..construction import AUTOINIT, Content, Region
from ..construction.memory import Values
from ..sampling.truncation import float32
from .call_frames import Origin, origin_of

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

    @classmethod
    def unseen(cls, region: Region, content: Content) -> Event:
        """A write that no operator showed."""
        return cls(region, [content], Origin())

    @property
    def content(self) -> Content:
        """What the call left."""
        return self.contents[-1]

    def is_read_by(self, later: Event) -> bool:
        """Whether the values that a later call wrote were computed from these."""
        mine = set(map(id, self.contents))
        return any(id(each) in mine for each in later.content.ancestors() if each is not later.content)


@dataclass(eq=False)
class Written:
    """The writes to one storage."""

    reference: StorageWeakRef
    """While it is there, no other storage comes to have the same address."""
    events: list[Event] = field(default_factory=list)


class History:
    """The writes of a construction by storage, those that were never carried out included.

    It holds no tensor: storages that were freed are dropped. What was computed from their values still refers to what
    was known of these.
    """

    def __init__(self) -> None:
        self._storages: dict[int, Written] = {}
        self._next_sweep = 1024
        self.functions: dict[int, tuple[Content, Origin]] = {}
        """The origin of contents that a function such as `orthogonal_` wrote, by id."""
        self.numbers: dict[int, tuple[Content, tuple[float, ...]]] = {}
        """What torch made from a few numbers of Python, by id of the content."""

    def note(self, tensor: Tensor, region: Region, values: Values) -> None:
        """Note a write to a tensor."""
        if values is None:
            return
        origin = Origin() if _is_own(values) else origin_of(sys._getframe(1), tensor)
        written = self._of(tensor)
        if isinstance(values, Content):
            self._add(written, region, values, origin)
            if values.operator == "numbers" and _is_readable(tensor):
                self.numbers[id(values)] = values, tuple(map(_shortest, tensor.detach().reshape(-1).tolist()))
        else:
            for write in values:
                self._add(written, write.region, write.content, origin)

    def _add(self, written: Written, region: Region, content: Content, origin: Origin) -> None:
        if origin.functions:
            self.functions[id(content)] = content, origin
        events = written.events
        if events and origin.key and events[-1].origin.key == origin.key:
            last = events[-1]
            last.contents.append(content)
            last.region = region if region.covers(last.region) else last.region
            return
        events.append(Event(region, [content], origin))
        if len(events) > MOST:
            del events[MOST // 2]

    def _of(self, tensor: Tensor) -> Written:
        key = _torch.storage_id(tensor)
        found = self._storages.get(key)
        if found is None or found.reference.expired():  # type: ignore[no-untyped-call]
            found = self._storages[key] = Written(StorageWeakRef(tensor.untyped_storage()))  # type: ignore[no-untyped-call]
            if len(self._storages) >= self._next_sweep:
                living = {at: each for at, each in self._storages.items() if not each.reference.expired()}  # type: ignore[no-untyped-call]
                self._storages, self._next_sweep = living, max(1024, 2 * len(living))
        return found

    def of(self, tensor: Tensor) -> list[Event]:
        """The writes to the storage of a tensor that meet the tensor, in order."""
        written, region = self._storages.get(_torch.storage_id(tensor)), Region.of(tensor)
        events = [] if written is None else written.events
        # A region without bytes meets none.
        return [each for each in events if each.region.meets(region) or each.region == region]


def _is_readable(tensor: Tensor) -> bool:
    """Whether a tensor is on the CPU, small, not complex and not fake, so that its values can be read."""
    return tensor.is_cpu and not _torch.is_fake(tensor) and tensor.numel() <= FEW and not tensor.is_complex()


def _shortest(value: float) -> float:
    """The number that a float32 was made from: 0.1, not 0.10000000149011612."""
    return next((short for n in range(1, 10) if float32(short := float(f"{value:.{n}g}")) == value), float(value))


def _is_own(values: Values) -> bool:
    return isinstance(values, Content) and values.operator == AUTOINIT
