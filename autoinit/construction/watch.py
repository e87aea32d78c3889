"""What watches a construction: a dispatch mode for operators, a function mode for what gets hold of raw memory."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .. import _torch
from .content import Content, Place
from .functions import Access, access_of
from .generators import is_in_order
from .memory import Memory, Region
from .modes import (
    default_device_is_busy,
    push_dispatch_mode,
    push_function_mode,
    remove_dispatch_mode,
    remove_function_mode,
)
from .operators import Call, Kind, Operator, operator_of, tensors_in
from .postponed import TRUNC_NORMAL, Fill, Postponed, accepts
from .record import ConstructionRecord, handles_operators, has_memory

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

    def __init__(
        self,
        is_here: Callable[[], bool] = lambda: True,
        *,
        may_postpone: bool = True,
    ) -> None:
        self.record = ConstructionRecord()
        self.postponed = Postponed(self._note_unseen)
        self.users = 0
        """How many blocks are open that it watches for."""
        self.may_postpone = may_postpone
        self._is_here = is_here
        self._operators = _OperatorMode(self)
        self._functions = _FunctionMode(self)
        self._has_functions = False
        self._is_on = False
        self._is_in_operator = False

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
        if not self._is_in_operator:  # torch puts back the mode whose handler is running by itself.
            push_dispatch_mode(self._operators)
        if self._has_functions:
            push_function_mode(self._functions)

    def _remove(self) -> None:
        if not self._is_in_operator:
            remove_dispatch_mode(self._operators)
        if self._has_functions:
            remove_function_mode(self._functions)

    def watch_functions(self) -> None:
        """See what gets hold of addresses, which does not pass through operators, now that memory is large."""
        # torch looks for the default device at the bottom: while that is busy, ours would come to lie below it.
        if self._is_on and self.record.has_large and not self._has_functions and not default_device_is_busy():
            self._has_functions = True
            push_function_mode(self._functions)

    def postpone_trunc_normal(self, tensor: Tensor, mean: float, std: float, a: float, b: float) -> bool:
        """Postpone torch's truncated normal as a whole: it reads what it has drawn, and draws again."""
        if not self._is_on or not std > 0 or not a < b or not a - 2 * std <= mean <= b + 2 * std:
            return False
        with _torch.without_functions():
            frame = sys._getframe(1)
            return self._postpone(TRUNC_NORMAL, True, True, tensor, (mean, std, a, b), {}, frame)

    def dispatch(self, function: _torch.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Handle a call of an operator."""
        operator = operator_of(function)
        if not self._is_on or (operator.kind is Kind.NEUTRAL and not operator.written):
            return function(*args, **kwargs)
        frame = sys._getframe(2)
        with _torch.without_functions():
            if operator.arithmetic and self._postpone_call(operator, args, kwargs, frame):
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

    def _bring_up_to_date(self, call: Call) -> None:
        if call.operator.calls_others:
            self.postponed.run_all()
        if call.operator.draws:
            self.postponed.run_draws()
        self.flush(call.tensors)

    def flush(self, tensors: Iterable[Tensor]) -> None:
        """Do the postponed fills of the memory of some tensors."""
        if not self.postponed:
            return
        keys = {_torch.storage_id(tensor) for tensor in tensors if has_memory(tensor)}
        due = [key for key in keys if key in self.postponed]
        if due:
            self.postponed.run_for(due)

    def expose(self, tensors: Iterable[Tensor]) -> None:
        """Code that is not watched gets the address of the memory of some tensors."""
        tensors = list(tensors)
        with _torch.without_functions():
            self.flush(tensors)
            for tensor in tensors:
                if type(tensor) in PLAIN and has_memory(tensor):
                    self.record.expose(tensor)

    def _postpone_call(self, operator: Operator, args: Sequence[Any], kwargs: Mapping[str, Any], frame: Any) -> bool:
        target = args[0] if args else None
        if not isinstance(target, Tensor) or (not self.postponed and target.numel() < self.LARGE):
            return False
        return self._postpone(
            operator.name, operator.draws, operator.overwrites, target, tuple(args[1:]), kwargs, frame
        )

    def _postpone(
        self,
        name: str,
        draws: bool,
        overwrites: bool,
        target: Tensor,
        numbers: tuple[Any, ...],
        named: Mapping[str, Any],
        frame: Any,
    ) -> bool:
        """Postpone a fill of memory that was made in the block, by numbers that the operator takes."""
        if type(target) not in PLAIN or not has_memory(target):
            return False
        memory = self.record.find(target)
        if memory is None or not self._can_wait(memory, target):
            return False
        if not memory.pending and not (overwrites and self._is_worth_it(target, draws)):
            return False
        named = {key: value for key, value in named.items() if value is not None}
        values = (*numbers, *named.values())
        if not all(type(value) in POSTPONABLE for value in values):
            return False
        if not accepts(name, target.dtype, numbers, tuple(named.items()), tuple(map(type, values))):
            return False
        layout = (int(target.storage_offset()), target.shape, target.stride())
        region = Region.of(target)
        fill = Fill(name, memory, region, layout, target.dtype, target.device, numbers, named, draws, overwrites)
        self.postponed.add(fill, target)
        held = () if overwrites else tuple(filter(None, (memory.content(region),)))
        memory.write(region, Content(name, values, sources=held, place=Place.of(frame)))
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
            and _torch.number_of_dispatch_modes() == (not self._is_in_operator)
            and not _torch.is_transforming()
            and _torch.tracing_state() is None
            and target.untyped_storage().resizable()
            and self._is_here()
        )

    def _note_unseen(self, memory: Memory) -> None:
        for write in memory.writes[-1:]:
            self.record.note_unseen(memory, write.region)


class _OperatorMode(_torch.TorchDispatchMode):
    """Sees every operator, whatever calls it."""

    supports_higher_order_operators = True

    def __init__(self, watch: Watch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watch = watch

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # Skipping imports the compiler, which takes a second.

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True  # Else torch would compile nothing within the block, and not afterwards either.

    @_torch.not_compiled
    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        if types and any(map(handles_operators, types)):
            # A subclass of Tensor: the operators that it consists of come here too, unless another mode is asked first.
            return func(*args, **(kwargs or {})) if _torch.number_of_dispatch_modes() else NotImplemented
        watch = self._watch
        before, watch._is_in_operator = watch._is_in_operator, True
        try:
            return watch.dispatch(func, args, kwargs or {})
        finally:
            watch._is_in_operator = before


class _FunctionMode(TorchFunctionMode):
    """Sees functions of torch that read or hand out memory without an operator."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    @_torch.not_compiled
    def __torch_function__(self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None) -> Any:
        if torch.compiler.is_dynamo_compiling():  # The compiler traces this, too; what it makes of it is watched.
            return func(*args, **(kwargs or {}))
        watch = self._watch
        access = access_of(func)
        if access is not Access.BY_OPERATORS and watch._is_on:
            tensors = list(tensors_in((args, kwargs or {})))
            with _torch.without_functions():
                watch.flush(tensors)
                if access in (Access.UNKNOWN, Access.CALLS):
                    watch.expose(tensors)
        if watch.postponed and (access is Access.CALLS or _torch.hooks_of_saved_tensors(True) is not None):
            watch.postponed.run_all()
        result = func(*args, **(kwargs or {}))
        if func == SET_DATA and watch._is_on:
            with _torch.without_functions():
                watch.record.note_moved(args[0])
        return result


def _count_uses_when_new() -> int:
    """Counted where the record does: torch itself holds some references while it calls a mode."""
    watch = Watch()
    with _torch.no_modes():
        watch.begin()
        torch.UntypedStorage(1, device="cpu").clone()  # type: ignore[no-untyped-call]
        watch.end()
    return watch.record.least_uses


ConstructionRecord.uses_when_new = _count_uses_when_new()
