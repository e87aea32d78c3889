"""What watches a construction: a dispatch mode for operators, a function mode for what gets hold of raw memory."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import _torch
from .content import Content, Place
from .functions import Access, access_of
from .generators import is_in_order
from .memory import Memory
from .operators import Call, Kind, Operator, operator_of, tensors_in
from .postponed import Postponed
from .postponed_fill import TRUNC_NORMAL, Fill, accepts
from .record import ConstructionRecord, has_memory
from .torch_modes import FunctionMode, OperatorMode, default_device_is_busy

PLAIN = frozenset((Tensor, torch.nn.Parameter))
SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]
POSTPONABLE = frozenset((int, float, bool, type(None)))
"""Types of arguments whose fill may be postponed."""


_watches = threading.local()


def current_watches() -> Sequence[Watch]:
    """The watches over the running thread, the latest last."""
    found: Sequence[Watch] = getattr(_watches, "stack", ())
    return found


def current_watch() -> Watch | None:
    """The latest watch over the running thread, if there is one."""
    watches = current_watches()
    return watches[-1] if watches else None


class Watch:
    """Records what operators do, postpones fills, and brings up to date whatever is read.

    Args:
        is_here: whether the running code belongs to the block: a mode is entered for a thread, in which other tasks
            may run.
        may_postpone: whether fills may be postponed at all.
    """

    LARGE: ClassVar[int] = 1 << 12
    """A fill of so many elements is worth being postponed."""

    def __init__(self, is_here: Callable[[], bool] = lambda: True, *, may_postpone: bool = True) -> None:
        self.record = ConstructionRecord()
        self.postponed = Postponed(self._note_unseen)
        self.users = 0
        """How many blocks are open that it watches for."""
        self.may_postpone = may_postpone
        self._is_here = is_here
        self._operators = OperatorMode(self._call_operator)
        self._functions = FunctionMode(self._call_function)
        self._has_functions = False
        self._is_on = False

    def begin(self) -> None:
        """Watch the running thread."""
        if not self._is_on:
            self._is_on = True
            self._push()
            _watches.stack = [*current_watches(), self]

    def end(self) -> None:
        """Do what is postponed, and stop watching until `begin` is called."""
        self._is_on = False
        self._remove()
        _watches.stack = [watch for watch in current_watches() if watch is not self]
        self.postponed.run_all()

    def stop_postponing(self) -> None:
        """Do what is postponed, and postpone nothing more: code that cannot be watched is about to run."""
        self.may_postpone = False
        self.postponed.run_all()

    @contextmanager
    def aside(self) -> Iterator[Postponed]:
        """A stretch in which nothing is recorded or postponed, and what is postponed stays so."""
        was_on, self._is_on = self._is_on, False
        if was_on:
            self._remove()
        try:
            yield self.postponed
        finally:
            if was_on:
                self._is_on = True
                self._push()

    def _push(self) -> None:
        self._operators.insert()
        if self._has_functions:
            self._functions.insert()

    def _remove(self) -> None:
        self._operators.remove()
        if self._has_functions:
            self._functions.remove()

    def watch_functions(self) -> None:
        """See what gets hold of addresses, which does not pass through operators, now that memory is large."""
        # torch looks for the default device at the bottom: while that is busy, ours would come to lie below it.
        if self._is_on and self.record.has_large and not self._has_functions and not default_device_is_busy():
            self._has_functions = True
            self._functions.insert()

    def postpone_trunc_normal(self, tensor: Tensor, mean: float, std: float, a: float, b: float) -> bool:
        """Postpone torch's truncated normal as a whole: it reads what it has drawn, and draws again."""
        if not self._is_on or not std > 0 or not a < b or not a - 2 * std <= mean <= b + 2 * std:
            return False
        with _torch.without_functions():
            return self._postpone(TRUNC_NORMAL, (tensor, mean, std, a, b), {}, sys._getframe(1))

    def _call_operator(self, function: _torch.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        operator = operator_of(function)
        if not self._is_on or (operator.kind is Kind.NEUTRAL and not operator.written):
            return function(*args, **kwargs)
        frame = sys._getframe(2)
        with _torch.without_functions():
            if operator.arithmetic and self._postpone(operator, args, kwargs, frame):
                return args[0]
            call = Call(operator, args, kwargs)
            if self.postponed:
                self._bring_up_to_date(call)
            reads = self.record.read(call)
            result = function(*args, **kwargs)
            self.record.note(call, reads, result, frame)
        if self.record.has_large and not self._has_functions:
            self.watch_functions()
        return result

    def _call_function(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        access = access_of(function)
        if access is not Access.BY_OPERATORS and self._is_on:
            tensors = list(tensors_in((args, kwargs)))
            if access is Access.COMPOSITE:
                with _torch.without_functions():
                    self.flush(tensors)
            else:
                self.expose(tensors)
        if self.postponed and (access is Access.CALLS or _torch.hooks_of_saved_tensors(True) is not None):
            self.postponed.run_all()
        result = function(*args, **kwargs)
        if function == SET_DATA and self._is_on:
            with _torch.without_functions():
                self.record.note_moved(args[0])
        return result

    def _bring_up_to_date(self, call: Call) -> None:
        if call.operator.calls_others:
            self.postponed.run_all()
        if call.operator.draws:
            self.postponed.run_draws()
        self.flush(call.tensors)

    def flush(self, tensors: Iterable[Tensor]) -> None:
        """Do the postponed fills of the memory of some tensors."""
        if self.postponed:
            self.postponed.run_for({_torch.storage_id(tensor) for tensor in tensors if has_memory(tensor)})

    def expose(self, tensors: Iterable[Tensor]) -> None:
        """Code that is not watched gets the address of the memory of some tensors."""
        tensors = list(tensors)
        with _torch.without_functions():
            self.flush(tensors)
            for tensor in tensors:
                if type(tensor) in PLAIN:
                    self.record.expose(tensor)

    def _postpone(self, operator: Operator, args: Sequence[Any], kwargs: Mapping[str, Any], frame: Any) -> bool:
        """Postpone a fill of memory that was made in the block, by numbers that the operator takes."""
        target: Any = args[0] if args else None
        if type(target) not in PLAIN or not (self.postponed or target.numel() >= self.LARGE):
            return False
        memory = self.record.find(target)
        if memory is None or not self._can_wait(memory, target):
            return False
        if not memory.pending and not (operator.overwrites and self._is_worth_it(target, operator.draws)):
            return False
        numbers = tuple(args[1:])
        named = {key: value for key, value in kwargs.items() if value is not None}
        values = (*numbers, *named.values())
        if not all(type(value) in POSTPONABLE for value in values):
            return False
        if not accepts(operator.name, target.dtype, numbers, tuple(named.items()), tuple(map(type, values))):
            return False
        fill = Fill.of(operator, memory, target, numbers, named)
        self.postponed.add(fill, target, in_operator=self._operators.is_running)
        held = None if operator.overwrites else memory.content(fill.region)
        sources = () if held is None else (held,)
        memory.write(fill.region, Content(operator.name, values, sources=sources, place=Place.of(frame)))
        return True

    def _is_worth_it(self, target: Tensor, draws: bool) -> bool:
        # A small fill that draws waits behind larger ones, so that these need not be done before it.
        return target.numel() >= self.LARGE or (draws and self.postponed.has_draws)

    def _can_wait(self, memory: Memory, target: Tensor) -> bool:
        return (
            self.may_postpone
            and self._has_functions
            and not (memory.exposed or memory.is_foreign)
            and is_in_order(target.device)
            and target.is_floating_point()
            and target.layout is torch.strided
            and bool(target.numel())
            and not target.is_inference()
            and _torch.number_of_dispatch_modes() == (not self._operators.is_running)
            and not _torch.is_transforming()
            and _torch.tracing_state() is None
            and target.untyped_storage().resizable()
            and self._is_here()
        )

    def _note_unseen(self, memory: Memory) -> None:
        for write in memory.writes[-1:]:
            self.record.note_unseen(memory, write.region)


def _count_uses_when_new() -> int:
    """Counted where the record does: torch itself holds some references while it calls a mode."""
    watch = Watch()
    with _torch.no_modes():
        watch.begin()
        torch.UntypedStorage(1, device="cpu").clone()  # type: ignore[no-untyped-call]
        watch.end()
    return watch.record.least_uses


ConstructionRecord.uses_when_new = _count_uses_when_new()
