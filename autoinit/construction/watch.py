"""The modes that watch a construction: for operators, and for functions that hand out addresses."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import _torch
from .content import Content, Place
from .functions import Access, FunctionMode, access_of
from .memory import Fill, Memory, Region
from .operators import TRUNC_NORMAL, Call, Kind, Operator, OperatorMode, operator_of, tensors_in
from .postponed import Postponed, is_in_order
from .record import ConstructionRecord, has_memory

PLAIN = (Tensor, torch.nn.Parameter)
SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]
NUMBERS = frozenset((int, float, bool, type(None)))  # Types of the arguments of a fill that may be postponed.


class _Watches(threading.local):
    stack: Sequence[Watch] = ()


_watches = _Watches()


def current_watches() -> Sequence[Watch]:
    """The watches over the running thread, the latest last."""
    return _watches.stack


def current_watch() -> Watch | None:
    """The latest watch over the running thread, if there is one."""
    return _watches.stack[-1] if _watches.stack else None


class Watch:
    """Records operators, postpones fills, and runs the postponed fills of each tensor that is read.

    Args:
        is_here: Function that tells code of the block from other tasks of the thread.
        may_postpone: Allow fills to be postponed.
        yields: Be off while another watch is over the thread.
    """

    LARGE: ClassVar[int] = 1 << 12  # Smallest number of elements of a fill that is postponed.

    def __init__(
        self, is_here: Callable[[], bool] = lambda: True, *, may_postpone: bool = True, yields: bool = False
    ) -> None:
        self.record = ConstructionRecord()
        self.postponed = Postponed()
        self.users = 0  # Number of open blocks that use it.
        self.may_postpone = may_postpone
        self.yields = yields
        self._is_here = is_here
        self._operators = OperatorMode(self._call_operator)
        self._functions: FunctionMode | None = None
        self._is_on = False

    def begin(self) -> None:
        """Watch the running thread."""
        if self._is_on or (self.yields and self in _watches.stack):
            return
        if self.yields:
            _watches.stack = [self, *_watches.stack]
        else:
            self._switch(True)
            _watches.stack = [*_watches.stack, self]
        _let_yield()

    def end(self) -> None:
        """Run all postponed fills, and stop watching until `begin` is called."""
        self._switch(False)
        _watches.stack = [watch for watch in _watches.stack if watch is not self]
        self.postponed.run_all()
        _let_yield()

    def stop_postponing(self) -> None:
        """Run all postponed fills, and postpone no more: code that cannot be watched is about to run."""
        self.may_postpone = False
        self.postponed.run_all()

    @contextmanager
    def aside(self) -> Iterator[Postponed]:
        """Context in which nothing is recorded or postponed; postponed fills stay so."""
        if not self._is_on:
            yield self.postponed
            return
        self._switch(False)
        try:
            yield self.postponed
        finally:
            self._switch(True)

    def _switch(self, on: bool) -> None:
        self._is_on = on
        self._operators.put(on)
        if self._functions is not None:
            self._functions.put(on)

    def watch_functions(self) -> None:
        """Watch functions as well, which may hand out addresses, once a large storage was made."""
        if self._is_on and self.record.has_large and self._functions is None:
            default = _torch.default_device_mode()
            # torch looks for the default device at the bottom; while that handles a call, ours would be inserted below.
            if default is None or default in _torch.function_modes():
                self._functions = FunctionMode(self._call_function)
                self._functions.put(True)

    def postpone_trunc_normal(self, tensor: Tensor, mean: float, std: float, a: float, b: float) -> bool:
        """Postpone torch's truncated normal as a whole, because it reads its own draws."""
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
            if operator.can_wait and self._postpone(operator, args, kwargs, frame):
                return args[0]
            call = Call(operator, args, kwargs)
            if self.postponed:
                self._bring_up_to_date(call)
            reads = self.record.read(call)
            result = function(*args, **kwargs)
            self.record.note(call, reads, result, frame)
        if self.record.has_large and self._functions is None:
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
        """Run the postponed fills of some tensors."""
        if self.postponed:
            self.postponed.run_for({_torch.storage_id(tensor) for tensor in tensors if has_memory(tensor)})

    def expose(self, tensors: Iterable[Tensor]) -> None:
        """Record that code which is not watched gets the addresses of some tensors."""
        tensors = list(tensors)
        with _torch.without_functions():
            self.flush(tensors)
            for tensor in tensors:
                if type(tensor) in PLAIN:
                    self.record.expose(tensor)

    def _postpone(self, operator: Operator, args: Sequence[Any], kwargs: Mapping[str, Any], frame: Any) -> bool:
        """Postpone a fill of a tensor that was made in the block, if the operator accepts its numbers."""
        target: Any = args[0] if args else None
        if type(target) not in PLAIN or not (self.postponed or target.numel() >= self.LARGE):
            return False
        memory = self.record.find(target)
        if memory is None or not self._can_wait(memory, target):
            return False
        # A small fill that draws is postponed after larger ones, so that these need not run before it.
        is_worth_it = target.numel() >= self.LARGE or (operator.draws and bool(self.postponed.draws))
        if not memory.fills and not (operator.overwrites and is_worth_it):
            return False
        numbers = tuple(args[1:])
        named = {key: value for key, value in kwargs.items() if value is not None}
        values = (*numbers, *named.values())
        types = tuple(map(type, values))
        if not NUMBERS.issuperset(types) or not _accepts(operator, target.dtype, numbers, tuple(named.items()), types):
            return False
        region = Region.of(target)
        layout = (int(target.storage_offset()), target.shape, target.stride())
        fill = Fill(operator, memory, region, layout, target.dtype, target.device, numbers, named)
        self.postponed.add(fill, target, in_operator=self._operators.is_running)
        held = None if operator.overwrites else memory.content(region)
        sources = () if held is None else (held,)
        content = Content(operator.name, values, sources=sources, place=Place.of(frame))
        self.record.write(memory, target, region, content)
        return True

    def _can_wait(self, memory: Memory, target: Tensor) -> bool:
        return (
            self.may_postpone
            and self._functions is not None
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


def _let_yield() -> None:
    """Switch the watches that yield on if no other one watches the running thread, else off."""
    yielding = [watch for watch in _watches.stack if watch.yields]
    alone = len(yielding) == len(_watches.stack)
    for watch in yielding:
        if watch._is_on != alone:
            watch._switch(alone)


@lru_cache(maxsize=4096)
def _accepts(
    operator: Operator, dtype: torch.dtype, numbers: tuple[Any, ...], named: tuple[tuple[str, Any], ...], types: object
) -> bool:
    """Call an operator on an empty tensor, to see if it accepts the numbers; `types`, because `1 == 1.0 == True`."""
    try:
        with _torch.no_modes():
            operator.function(torch.empty(0, dtype=dtype, device="cpu"), *numbers, **dict(named))
    except Exception:  # Of any kind: the call itself raises it again, at the line of the mistake.
        return False
    return True
