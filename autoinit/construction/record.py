"""The record of a construction: every piece of memory that the block saw made, with what was written to it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from .. import _torch
from .content import Content, Place, computed, outside
from .memory import UNWRITTEN, Memory, Region, Write
from .operators import Call, Kind, Operator, tensors_in

LONGEST_LIST = 4096
"""No program's text has more numbers in one list: a longer one was computed, or read from a file."""


Reads = Mapping[int, Content | None]


class ConstructionRecord:
    """Memory by storage, as operators make it and write to it.

    Memory that is not in the record was not made in the block by an operator: what it holds is data.

    Example:
        >>> from autoinit.construction import Watch
        >>> outside = torch.ones(3)
        >>> watch = Watch()
        >>> watch.begin()
        >>> drawn, copied = torch.randn(3), outside * 2
        >>> watch.end()
        >>> watch.record.content(drawn).is_data, watch.record.content(copied).is_data
        (False, True)
    """

    uses_when_new = 0
    """What torch counts for a storage that nobody but one tensor has, as `copy.deepcopy` and `torch.load` make it."""

    def __init__(self) -> None:
        self.least_uses = 1 << 30
        self._memories: dict[int, Memory] = {}
        self._next_sweep = 4096
        self.writer: int | None = None
        """Which block writes, while one does; what it writes says so by its number."""
        self.all_exposed = False
        """Whether code that is not watched may write to any memory: a thread was given work."""
        self.has_large = False
        """Whether any memory was made that is too large to be compared by value."""

    def find(self, tensor: Tensor) -> Memory | None:
        """The memory of a tensor, if the block saw it made."""
        return self._memories.get(_torch.storage_id(tensor))

    def content(self, tensor: Tensor) -> Content | None:
        """What a tensor holds; None if nothing was written to it."""
        return self._held(tensor)

    def _check(self, memory: Memory, tensor: Tensor) -> None:
        """Note what was written by code that is not watched: another thread, C++, NumPy."""
        if memory.was_written_unseen(tensor):
            self.note_unseen(memory, Region.of(tensor))
            memory.note_state(tensor)

    def note_unseen(self, memory: Memory, region: Region) -> None:
        """Note that code which is not watched wrote to some memory."""
        memory.write(region, outside("written by code that autoinit does not see"))

    def note_written(self, tensor: Tensor, content: Content) -> None:
        """Note a write that was not an operator's that is watched, as autoinit's own."""
        memory = self.find(tensor) or self._new(tensor)
        memory.write(Region.of(tensor), content)
        memory.note_state(tensor)

    def note_moved(self, tensor: Tensor) -> None:
        """Note the version counter of a tensor that was given other memory: it counted writes to the memory before."""
        memory = self.find(tensor) if has_memory(tensor) else None
        if memory is not None:
            if memory.is_compared:
                self._check(memory, tensor)
            memory.note_state(tensor)

    def declare(self, tensor: Tensor, reason: str, frame: FrameType) -> None:
        """Note that what a tensor holds is data, whatever it was made of."""
        if has_memory(tensor) and (self.find(tensor) is not None):
            self.note_written(tensor, outside(reason, Place.of(frame)))

    def read(self, call: Call) -> Reads:
        """What the tensors hold that an operator is about to read or to write, by their ids."""
        operator = call.operator
        if operator.kind is Kind.RESIZES:
            self._note_outside(call.args[0])
        if operator.kind is not Kind.COMPUTES or not operator.reads:
            return {}
        replaced = [id(tensor) for tensor in call.written if _is_whole(tensor)] if operator.overwrites else ()
        if len(replaced) == len(call.tensors):
            return {}
        return {id(tensor): self._held(tensor) for tensor in call.tensors if id(tensor) not in replaced}

    def _held(self, tensor: Tensor) -> Content | None:
        tensor = plain(tensor)
        memory = self.find(tensor) if has_memory(tensor) else None
        if memory is None:
            return outside()
        self._check(memory, tensor)
        return memory.content(Region.of(tensor))

    def note(self, call: Call, reads: Reads, result: Any, frame: FrameType) -> None:
        """Note what an operator did."""
        operator = call.operator
        if operator.kind is Kind.NEUTRAL:
            for tensor in filter(has_memory, call.written):
                if (memory := self.find(tensor)) is not None:
                    memory.expect_write(tensor)
        elif operator.kind is Kind.EMPTY:
            for tensor in filter(has_memory, tensors_in(result)):
                self._new(tensor).note_values(tensor)
        elif operator.kind is Kind.LIFTS:
            self._lift(result, frame)
        elif operator.kind in (Kind.SETS, Kind.RESIZES):
            self._set(result, frame)
        elif not (operator.copies and self._copy(call, reads, result, frame)):
            self._compute(call, reads, result, frame)

    def expose(self, tensor: Tensor) -> None:
        """Note that code which is not watched gets the address of some memory."""
        memory = self.find(tensor)
        if memory is not None and not memory.exposed:
            self._check(memory, tensor)
            memory.exposed = True
            memory.note_values(tensor)

    def _new(self, tensor: Tensor, content: Content | None = None) -> Memory:
        memory = Memory(tensor.untyped_storage(), content)
        memory.exposed = self.all_exposed
        self._memories[memory.key] = memory
        self.has_large = self.has_large or not memory.is_small
        if len(self._memories) >= self._next_sweep:
            self._memories = {key: each for key, each in self._memories.items() if not each.is_gone}
            self._next_sweep = max(4096, 2 * len(self._memories))
        return memory

    def _lift(self, tensor: Tensor, frame: FrameType) -> None:
        """Memory that torch made from what Python gave it: numbers, unless it belongs to another library."""
        if not has_memory(tensor) or self.find(tensor) is not None:
            return
        is_foreign = not tensor.untyped_storage().resizable()
        place = Place.of(frame)
        if is_foreign or tensor.numel() > LONGEST_LIST:
            reason = "an array of another library" if is_foreign else f"{tensor.numel():,} numbers from Python"
            self._new(tensor, outside(reason, place)).is_foreign = is_foreign
        else:
            self._new(tensor, Content("numbers", place=place)).note_values(tensor)

    def _note_outside(self, tensor: Tensor) -> None:
        """Note memory that was there before the block, and is about to be resized."""
        if has_memory(tensor) and self.find(tensor) is None and tensor.untyped_storage().nbytes():
            self._new(tensor, outside()).is_foreign = True

    def _set(self, tensor: Tensor, frame: FrameType) -> None:
        if not has_memory(tensor):
            return
        memory = self.find(tensor)
        if memory is not None:
            memory.expect_write(tensor)
            return
        memory = self._new(tensor, outside("a storage that no operator made", Place.of(frame)))
        storage = tensor.untyped_storage()
        uses = _torch.uses_of(storage)
        memory.is_foreign = uses > ConstructionRecord.uses_when_new or storage.filename is not None
        self.least_uses = min(uses, self.least_uses)

    def _compute(self, call: Call, reads: Reads, result: Any, frame: FrameType) -> None:
        operator, written = call.operator, call.written
        place, reason = Place.of(frame), _reason(operator)
        numbers = tuple(value for value in call.args if isinstance(value, (int, float)))
        targets = set(map(id, written))
        others = [content for key, content in reads.items() if content is not None and key not in targets]
        for tensor in filter(has_memory, written or tensors_in(result)):
            memory = self.find(tensor)
            if not written and memory is not None:
                continue  # A view, or an argument.
            pieces = [] if reason else self._pieces_for(call, tensor, reads)
            if pieces and (memory is not None or not written):
                rest = [content for content in others if not content.is_data]
                made = [Write(at, computed(operator.name, numbers, [each, *rest], place)) for at, each in pieces]
                self._write_pieces(tensor, made)
            elif written:
                held = None if operator.overwrites else reads.get(id(tensor))
                sources = others if held is None else [held, *others]
                self.write(tensor, computed(operator.name, numbers, sources, place, reason))
            else:
                memory = self._new(tensor, computed(operator.name, numbers, others, place, reason))
                memory.is_foreign = operator.from_file
                memory.note_values(tensor)
            if operator.collective and memory is not None:
                memory.forget_values()

    def _copy(self, call: Call, reads: Reads, result: Any, frame: FrameType) -> bool:
        """Note copies of whole tensors. False if it is anything else."""
        operator, written = call.operator, call.written
        source = call.args[1] if written else call.args[0]
        sources = source if isinstance(source, (list, tuple)) else [source]
        targets = written or [result]
        # The source of an in-place copy may be a number.
        pairs = zip(targets, sources, strict=True)
        if _reason(operator) or not all(isinstance(each, Tensor) and each.shape == to.shape for to, each in pairs):
            return False
        place = Place.of(frame)
        for target, each in zip(targets, sources, strict=True):
            held = reads[id(each)]
            is_cast = target.dtype != each.dtype or target.stride() != each.stride()
            content = None if held is None else held.copy(operator.name, place, is_cast=is_cast)
            pieces = self._pieces(each, target) if held is not None and held.is_data else []
            if pieces and (not written or self.find(target) is not None):
                name = operator.name
                copies = [Write(at, of if of is UNWRITTEN else of.copy(name, place)) for at, of in pieces]
                self._write_pieces(target, copies)
                continue
            if written:
                self.write(target, content)
            elif has_memory(target) and self.find(target) is None:
                self._new(target, content).note_values(target)
        return True

    def _pieces_for(self, call: Call, target: Tensor, reads: Reads) -> list[Write]:
        """What an elementwise operator makes of data and initialization side by side: each stays where it is."""
        if not call.operator.pointwise:
            return []
        data = [each for each in call.tensors if (held := reads.get(id(each))) is not None and held.is_data]
        return self._pieces(data[0], target) if len(data) == 1 else []

    def _pieces(self, source: Tensor, target: Tensor) -> list[Write]:
        """What a tensor holds, write by write, at the same places of another; nothing if one write made it all."""
        source = plain(source)
        memory = self.find(source) if has_memory(source) else None
        if memory is None or len(memory.writes) < 2 or source.shape != target.shape or source.dtype != target.dtype:
            return []
        of, to = Region.of(source), Region.of(target)
        if of != to and (of.layout is not None or to.layout is not None):
            return []
        found = memory.pieces(of)
        return [Write(at.moved(to.start - of.start), content) for at, content in found] if len(found) > 1 else []

    def _write_pieces(self, tensor: Tensor, pieces: list[Write]) -> None:
        """Note a write by an operator, or a new tensor, with values of several origins."""
        memory = self.find(tensor)
        if memory is None:
            memory = self._new(tensor)
            memory.writes = pieces
        else:
            if not memory.is_foreign:
                memory.write_pieces(Region.of(tensor), pieces)
            memory.expect_write(tensor)
        memory.note_values(tensor)

    def write(self, tensor: Tensor, content: Content | None) -> None:
        """Note a write by an operator."""
        memory = self.find(tensor) if has_memory(tensor) else None
        if memory is None:
            return  # From outside: it is data already.
        if memory.is_foreign:
            pass
        elif content is None:
            memory.forget(Region.of(tensor))
        else:
            memory.write(Region.of(tensor), content)
        memory.expect_write(tensor)
        memory.note_values(tensor)


def _is_whole(tensor: Tensor) -> bool:
    """Whether a tensor has all of its memory."""
    return has_memory(tensor) and tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def _reason(operator: Operator) -> str:
    """Why the result of an operator is data, whatever it reads."""
    if operator.collective:
        return "a collective"
    if operator.from_file:
        return "a file"
    if not operator.of_torch:
        return f"the operator {operator.name}, which does not come with torch"
    return "gradients" if _torch.current_backward() != -1 else ""


def has_memory(tensor: Tensor) -> bool:
    """Whether a tensor has a storage to be known by. Subclasses that handle operators themselves keep it elsewhere."""
    return bool(_torch.has_storage(tensor)) and (type(tensor) is Tensor or not handles_operators(type(tensor)))


@lru_cache(maxsize=1024)
def handles_operators(cls: type) -> bool:
    """Whether a subclass of Tensor handles operators itself; parameters do not.

    Example:
        >>> handles_operators(torch.nn.Parameter)
        False
    """
    return cls.__torch_dispatch__ is not _torch.no_dispatch  # type: ignore[attr-defined]


def plain(tensor: Tensor) -> Tensor:
    """What this process stores of a tensor subclass (DTensor, ...); a plain tensor is that itself."""
    while type(tensor) not in (Tensor, torch.nn.Parameter) and hasattr(tensor, "__tensor_flatten__"):
        tensor = getattr(tensor, tensor.__tensor_flatten__()[0][0])
    return tensor
