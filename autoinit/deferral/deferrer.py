"""The mode that records fills of parameters while constructors run, and runs them when somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .calls import GET, SET, SETTER, Call, Filler, filler_of, kind_by_index
from .guards import Guard, storage_of
from .kinds import KNOWN, Kind, kind_of
from .records import Records
from .stack import put_at_the_bottom, take_out

CLEARED = Tensor.data.__set__  # type: ignore[attr-defined]
PLAIN = frozenset((Tensor, nn.Parameter))


class Deferrer(TorchFunctionMode):
    """Records in-place fills of parameters, and brings up to date whatever is looked at.

    It is idle, and costs nothing, until it is told of a parameter that is large enough.

    Args:
        is_here: whether the code that runs is that whose fills are to be deferred: a mode is entered for a thread, in
            which other tasks may run.
        earlier: gives the parameters that were too small to be told of while it was idle.

    Example:
        >>> deferrer = Deferrer(lambda: True)
        >>> weight = nn.Parameter(torch.zeros(100, 100))
        >>> deferrer.notice(weight)
        >>> _ = nn.init.ones_(weight)
        >>> len(deferrer.records), weight.sum().item(), len(deferrer.records)
        (1, 10000.0, 0)
        >>> deferrer.rest()
    """

    LARGE: ClassVar[int] = 1 << 12
    """A parameter of so many elements is worth a mode, which every call of torch has to go through from then on."""

    def __init__(self, is_here: Callable[[], bool], earlier: Callable[[], Iterable[nn.Parameter]] = tuple) -> None:
        super().__init__()
        self.records = Records()
        self.users = 0
        """How many blocks are open whose fills it records."""
        self._is_here = is_here
        self._earlier = earlier
        self._guards: dict[int, Guard] = {}
        """Of the parameters, by their memory."""
        self._exposed: dict[int, Guard] = {}
        """Those of them whose memory somebody has got hold of who is not seen."""
        self._is_on = False
        self._is_stopped = False

    def notice(self, param: nn.Parameter) -> None:
        """Be told of a parameter, when a module gets it: from now on its fills are recorded."""
        with torch._C.DisableTorchFunction():
            if not self._is_on and (self._is_stopped or param.numel() < self.LARGE):
                return
            if not is_known(param):
                return
            # Once only: a block in which models are called over and over must not look at all of them each time.
            earlier, self._earlier = self._earlier, tuple
            for each in filter(is_known, earlier()):
                self._guard(each)
            self._guard(param)
        if not self._is_on:
            self._is_on = True
            put_at_the_bottom(self)

    def _guard(self, param: nn.Parameter) -> None:
        storage = storage_of(param)
        guard = self._guards.get(storage)
        if not guard:
            if not self._exposed.get(storage):
                self._guards[storage] = Guard(param)
        elif param not in guard:
            self.records.run_for({storage})
            guard.add(param)

    def rest(self) -> None:
        """Run everything that is pending, and be idle until the next parameter that is large enough."""
        # Perhaps another thread has found it idle meanwhile: on this one's stack it has to be looked for.
        self._is_on = False
        take_out(self)
        self._guards.clear()
        self._exposed.clear()
        self.records.run_all()

    def stop(self) -> None:
        """Run everything that is pending, and be idle for good."""
        self._is_stopped = True
        self.rest()

    @contextmanager
    def aside(self) -> Iterator[Records]:
        """A stretch in which nothing is recorded, and nobody is watched: what is pending has to be looked after."""
        was_on, self._is_on = self._is_on, False
        if was_on:
            take_out(self)
        try:
            yield self.records
        finally:
            if was_on:
                self._is_on = True
                put_at_the_bottom(self)

    def fill_whole(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Record a function of torch that a mode is told of in pieces, some of which look at what the others wrote."""
        if not self._is_on:
            return False
        with torch._C.DisableTorchFunction():
            filler = Filler(function, draws=True, overwrites=True, is_python=True, is_tried=True)
            return self._record(Call(filler, args, kwargs))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kind = KNOWN.get(func)
        if kind is Kind.ASKS or kind is Kind.VIEWS:  # Most of what constructors do: not a step more.
            return func(*args, **(kwargs or {}))
        return self._attend(func, args, kwargs or {})

    def _attend(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Look at a call that is not known to be harmless, and do it."""
        is_item = (func is GET or func is SET) and len(args) > 1
        kind = kind_by_index(func, args[1]) if is_item else kind_of(func)
        if torch._C._functorch.peek_interpreter_stack() is not None:
            self.records.run_all()  # The tensors of a transform hide those that they are made of.
        elif kind is Kind.FILLS:
            call = Call(SETTER if func is SET else filler_of(func), args, kwargs)
            if self._record(call):
                return call.result
            kind = Kind.DRAWS if call.filler.draws else Kind.READS
        if kind is Kind.DRAWS:
            self.records.run_draws()
        if kind is Kind.EXPOSES:
            self._expose(set(storages_in((args, kwargs))))
        elif kind in (Kind.DRAWS, Kind.READS) and self.records:
            self.records.run_for(set(storages_in((args, kwargs))))
        result = func(*args, **kwargs)
        if func == CLEARED:
            self._follow(args[0])
        return result

    def _expose(self, storages: set[int]) -> None:
        self.records.run_for(storages)
        for storage in storages & self._guards.keys():
            self._exposed[storage] = self._guards.pop(storage)

    def _record(self, call: Call) -> bool:
        """Record a fill, if it is one of a parameter, with numbers that it can be done with."""
        target = call.target
        if not is_plain(target):
            return False
        storage = storage_of(target)
        guard = self._guards.get(storage)
        if not guard or torch._C._len_torch_dispatch_stack() or not self._is_here():
            return False
        if target.requires_grad and torch.is_grad_enabled() and not call.filler.is_python:
            return False  # It will raise.
        if not call.filler.draws and target.numel() < self.LARGE and storage not in self.records:
            return False  # It is done sooner than recorded.
        if not target.is_floating_point() or not call.is_fit():
            return False
        self.records.add(call.record(storage, guard))
        return True

    def _follow(self, tensor: object) -> None:
        """A parameter whose `.data` is replaced has other memory."""
        if isinstance(tensor, nn.Parameter):
            self.notice(tensor)


def storages_in(value: object) -> Iterator[int]:
    """The pieces of memory that the tensors in an argument have."""
    if isinstance(value, Tensor):
        if is_plain(value):
            yield storage_of(value)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from storages_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from storages_in(item)


def is_plain(tensor: object) -> bool:
    """Whether a tensor has memory on the CPU that it can be told by, and counts what is written there."""
    return (
        type(tensor) in PLAIN
        and tensor.is_cpu  # type: ignore[attr-defined]
        and tensor.layout is torch.strided  # type: ignore[attr-defined]
        and not (tensor.is_quantized or tensor.is_inference())  # type: ignore[attr-defined]
    )


def is_known(tensor: Tensor) -> bool:
    """Whether whoever looks at the memory of a tensor comes by way of torch."""
    return is_plain(tensor) and is_alone(tensor)


def is_alone(tensor: Tensor) -> bool:
    """Whether torch alone has the memory of a tensor: no array of NumPy, no file, no other process."""
    storage = tensor.untyped_storage()
    return bool(storage.resizable()) and not storage.is_shared()
