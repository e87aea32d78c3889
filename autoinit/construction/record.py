"""The record of a construction: every storage that was made in the block, and the writes to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from .. import _torch
from .content import Content, Place, computed, outside
from .memory import UNWRITTEN, Memory, Region, Values, Write
from .operators import FROM_FILE, Call, Kind, OperatorMode, handles_operators, operator_of, tensors_in

LONGEST_LIST = 4096
"""Longest list of Python numbers that counts as initialization; a longer one was computed or read from a file."""
NUMBERS = (int, float)
Reads = Mapping[int, Content | None]
Listener = Callable[[Tensor, Region, Values], None]
"""Called with each write: a tensor with the memory, the region, and what was written there."""


class Listeners(threading.local):
    """Functions that are called with every write in this thread, postponed and replaced ones included."""

    current: tuple[Listener, ...] = ()


listeners = Listeners()


def notify(tensor: Tensor, region: Region, values: Values) -> None:
    """Call all listeners with a write."""
    for listener in listeners.current:
        listener(tensor, region, values)


@dataclass(eq=False, repr=False)
class ConstructionRecord:
    """The storages that operators made in the block. A storage that is not in the record holds data."""

    writer: int | None = None  # Number of the block that fills parameters now, which becomes part of their content.
    all_exposed: bool = False  # Code that is not watched may write to any storage: a thread was given work.
    has_large: bool = False  # A storage was made that is too large to be compared by a checksum.
    _memories: dict[int, Memory] = field(default_factory=dict)
    _next_sweep: int = 4096

    def find(self, tensor: Tensor) -> Memory | None:
        """The storage of a tensor, if it was made in the block."""
        return self._memories.get(_torch.storage_id(tensor)) if has_memory(tensor) else None

    def content(self, tensor: Tensor) -> Content | None:
        """Content of a tensor; None if nothing was written to it."""
        tensor = plain(tensor)
        memory = self.find(tensor)
        if memory is None:
            return outside()
        memory.check(tensor)
        return memory.content(Region.of(tensor))

    def note_written(self, tensor: Tensor, content: Content) -> None:
        """Record a write that was no operator of the program, such as autoinit's own."""
        memory = self.find(tensor) or self._new(tensor)
        self.write(memory, tensor, Region.of(tensor), content)
        memory.accept(tensor)

    def write(self, memory: Memory, tensor: Tensor, region: Region, values: Values) -> None:
        """Record a write to a tensor."""
        memory.write(region, values)
        if listeners.current:
            notify(tensor, region, values)

    def note_moved(self, tensor: Tensor) -> None:
        """Accept the version counter of a tensor whose `.data` was set: it also counted writes to the old storage."""
        memory = self.find(tensor)
        if memory is not None:
            if memory.checksum is not None:
                memory.check(tensor)
            memory.accept(tensor)

    def declare(self, tensor: Tensor, reason: str, frame: FrameType) -> None:
        """Record that a tensor holds data."""
        if self.find(tensor) is not None:
            self.note_written(tensor, outside(reason, Place.of(frame)))

    def expose(self, tensor: Tensor) -> None:
        """Record that code which is not watched gets the address of a tensor."""
        memory = self.find(tensor)
        if memory is not None and not memory.exposed:
            memory.check(tensor)
            memory.exposed = True
            memory.accept(tensor)

    def read(self, call: Call) -> Reads:
        """Contents of the tensors that an operator will read or write, by their ids."""
        operator = call.operator
        if operator.kind is Kind.RESIZES:
            tensor = call.args[0]
            if has_memory(tensor) and self.find(tensor) is None and tensor.untyped_storage().nbytes():
                self._new(tensor, outside()).is_foreign = True  # Made before the block.
        if not operator.reads:
            return {}
        overwritten = {id(tensor) for tensor in call.written if not call.reads_too(tensor) and _is_whole(tensor)}
        return {id(tensor): self.content(tensor) for tensor in call.tensors if id(tensor) not in overwritten}

    def note(self, call: Call, reads: Reads, result: Any, frame: FrameType) -> None:
        """Record the effects of an operator."""
        kind = call.operator.kind
        if kind is Kind.COMPUTES:
            self._note_values(call, reads, result, Place.of(frame))
        elif kind is Kind.EMPTY:
            for tensor in tensors_in(result):
                if has_memory(tensor):
                    self._new(tensor).accept(tensor)
        elif kind is Kind.LIFTS:
            self._lift(result, frame)
        elif kind is Kind.NEUTRAL:
            for tensor in call.written:
                if (memory := self.find(tensor)) is not None:
                    memory.expect_write(tensor)
        elif (memory := self.find(result)) is not None:
            memory.expect_write(result)
        elif has_memory(result):
            memory = self._new(result, outside("a storage that no operator made", Place.of(frame)))
            storage = result.untyped_storage()
            memory.is_foreign = _torch.uses_of(storage) > USES_WHEN_NEW or storage.filename is not None

    def _new(self, tensor: Tensor, values: Values = None) -> Memory:
        memory = Memory.of(tensor)
        if values is not None:
            self.write(memory, tensor, Region(0, tensor.untyped_storage().nbytes()), values)
            memory.writes_seen = 0
        memory.exposed = self.all_exposed
        self._memories[memory.key] = memory
        self.has_large = self.has_large or not memory.is_small
        if len(self._memories) >= self._next_sweep:
            self._memories = {key: each for key, each in self._memories.items() if not each.is_gone}
            self._next_sweep = max(4096, 2 * len(self._memories))
        return memory

    def _lift(self, tensor: Tensor, frame: FrameType) -> None:
        """Record a tensor that torch made from Python numbers, or around an array of another library."""
        if not has_memory(tensor) or self.find(tensor) is not None:
            return
        is_foreign = not tensor.untyped_storage().resizable()
        place = Place.of(frame)
        if is_foreign or tensor.numel() > LONGEST_LIST:
            reason = "an array of another library" if is_foreign else f"{tensor.numel():,} numbers from Python"
            self._new(tensor, outside(reason, place)).is_foreign = is_foreign
        else:
            self._new(tensor, Content("numbers", place=place)).accept(tensor)

    def _note_values(self, call: Call, reads: Reads, result: Any, place: Place | None) -> None:
        """Record the values that an operator wrote to its arguments, or returned."""
        operator = call.operator
        reason = operator.reason or ("gradients" if _torch.current_backward() != -1 else "")
        copies = _copied(call, result) if operator.copies and not reason else ()
        for target, source in copies:
            self._store(call, target, self._copy(operator.name, source, target, reads, place))
        if not copies:
            # A result whose memory is known is a view, or an argument.
            for tensor in call.written or tensors_in(result):
                if has_memory(tensor) and (call.written or self.find(tensor) is None):
                    self._store(call, tensor, self._computed(call, tensor, reads, place, reason))

    def _store(self, call: Call, tensor: Tensor, values: Values) -> None:
        """Record the values of one argument or result of an operator."""
        memory = self.find(tensor)
        if memory is not None:
            if memory.is_foreign:
                notify(tensor, Region.of(tensor), values)
            else:
                self.write(memory, tensor, Region.of(tensor), values)
            memory.accept(tensor, rise=1)
        elif call.written or not has_memory(tensor):
            if has_memory(tensor):
                notify(tensor, Region.of(tensor), values)
            return  # It was made outside the block, so it holds data already.
        else:
            memory = self._new(tensor, values)
            memory.is_foreign = call.operator.reason == FROM_FILE
            memory.accept(tensor)
        if call.operator.collective:
            memory.checksum = None  # Other processes will write to it at some later time.

    def _computed(self, call: Call, target: Tensor, reads: Reads, place: Place | None, reason: str) -> Values:
        """Content of a tensor that an operator has computed."""
        operator, given = call.operator, (*call.args, *call.kwargs.values()) if call.kwargs else call.args
        numbers = tuple([value for value in given if type(value) in NUMBERS])
        if not reads:
            return computed(operator.name, numbers, (), place, reason)
        written = set(map(id, call.written))
        sources = [content for key, content in reads.items() if content is not None and key not in written]
        if operator.pointwise and not reason:
            # Elements that hold data and elements that hold initialization stay apart.
            data = [each for each in call.tensors if (held := reads.get(id(each))) is not None and held.is_data]
            pieces = self._pieces(data[0], target) if len(data) == 1 else []
            if pieces:
                rest = [content for content in sources if not content.is_data]
                return [Write(at, computed(operator.name, numbers, [each, *rest], place)) for at, each in pieces]
        held = reads.get(id(target)) if written and call.reads_too(target) else None
        return computed(operator.name, numbers, sources if held is None else [held, *sources], place, reason)

    def _copy(self, operator: str, source: Tensor, target: Tensor, reads: Reads, place: Place | None) -> Values:
        """Content of a tensor after another one was copied to it as a whole."""
        held = reads[id(source)]
        if held is None:
            return None
        pieces = self._pieces(source, target) if held.is_data else ()
        if pieces:
            return [Write(at, of if of is UNWRITTEN else of.copy(operator, place)) for at, of in pieces]
        is_cast = target.dtype != source.dtype or target.stride() != source.stride()
        return held.copy(operator, place, is_cast=is_cast)

    def _pieces(self, source: Tensor, target: Tensor) -> list[Write]:
        """The writes to a tensor, moved to the same places of another; empty if there was one write."""
        source = plain(source)
        memory = self.find(source)
        if memory is None or len(memory.writes) < 2 or source.shape != target.shape or source.dtype != target.dtype:
            return []
        of, to = Region.of(source), Region.of(target)
        if of != to and (of.layout is not None or to.layout is not None):
            return []
        found = memory.pieces(of)
        return [Write(at.moved(to.start - of.start), content) for at, content in found] if len(found) > 1 else []


def _copied(call: Call, result: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
    """Targets and sources of copies of whole tensors; nothing if an operator did anything else."""
    source = call.args[1] if call.written else call.args[0]
    sources = source if isinstance(source, (list, tuple)) else [source]
    pairs = list(zip(call.written or [result], sources, strict=True))
    # The source of an in-place copy may be a number.
    return pairs if all(isinstance(each, Tensor) and each.shape == to.shape for to, each in pairs) else ()


def _is_whole(tensor: Tensor) -> bool:
    """True if a tensor spans its whole storage."""
    return has_memory(tensor) and tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def has_memory(tensor: Tensor) -> bool:
    """True if a tensor has a storage. Subclasses that handle operators themselves keep theirs in inner tensors."""
    return bool(_torch.has_storage(tensor)) and (type(tensor) is Tensor or not handles_operators(type(tensor)))


def plain(tensor: Tensor) -> Tensor:
    """The tensor that this process stores for a tensor subclass (DTensor, ...); plain tensors are returned as is."""
    while type(tensor) not in (Tensor, torch.nn.Parameter) and hasattr(tensor, "__tensor_flatten__"):
        tensor = getattr(tensor, tensor.__tensor_flatten__()[0][0])
    return tensor


def _count_uses_when_new() -> int:
    """References that torch counts for a storage of one tensor, as `copy.deepcopy` and `torch.load` make it.

    Counted in the handler of a mode, as the record does: torch itself holds some references there.
    """
    counts: list[int] = []

    def handle(function: Any, args: Any, kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if operator_of(function).kind is Kind.SETS:
            counts.append(_torch.uses_of(result.untyped_storage()))
        return result

    with _torch.no_modes(), _torch.dispatch_mode(OperatorMode(handle)):
        torch.UntypedStorage(1, device="cpu").clone()  # type: ignore[no-untyped-call]
    return min(counts)


USES_WHEN_NEW = _count_uses_when_new()
