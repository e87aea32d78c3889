"""One call of a function of torch, looked at as a fill."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from .guards import Guard
from .kinds import DRAWING_METHODS, INIT_FUNCTIONS, Kind
from .records import Record

GET, SET = Tensor.__getitem__, Tensor.__setitem__
DRAWING = frozenset(getattr(Tensor, name) for name in DRAWING_METHODS)
OVERWRITING = frozenset((*DRAWING, Tensor.fill_, Tensor.zero_))
INIT: Mapping[str, Callable[..., Any]] = {name: getattr(nn.init, name) for name in INIT_FUNCTIONS}
"""As they are before another library replaces them for a while."""
OF_SHAPE = ("kaiming_uniform_", "kaiming_normal_")
"""What has to know the shape of a tensor to say whether it is defined for it."""
NUMBERS = frozenset((int, float, bool, str, type(None)))
"""The types of what nearly every fill is given."""


@dataclass(frozen=True, eq=False)
class Filler:
    """A function that fills its first argument by its other ones.

    Args:
        function: what does it.
        draws: whether it draws from a generator.
        overwrites: whether nothing is left of what was there.
        is_python: whether it is written in Python, and sees to it that nothing of it is differentiated.
        is_tried: whether it is known in another way that its arguments are good.
    """

    function: Callable[..., Any]
    draws: bool
    overwrites: bool
    is_python: bool = False
    is_tried: bool = False


SETTER = Filler(SET, draws=False, overwrites=False)


@functools.lru_cache(maxsize=256)
def filler_of(function: Callable[..., Any]) -> Filler:
    """What a function of the kind `FILLS` is, as a mode is told of it."""
    name = function.__name__
    if isinstance(function, FunctionType):
        return Filler(INIT[name], draws=name != "constant_", overwrites=True, is_python=True)
    return Filler(function, draws=function in DRAWING, overwrites=function in OVERWRITING)


class Call:
    """A function that fills, with its arguments.

    Args:
        filler: the function.
        args, kwargs: as they were passed.
    """

    __slots__ = ("_args", "_index", "_kwargs", "filler", "target")

    def __init__(self, filler: Filler, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.filler = filler
        self._index: tuple[Any, ...] = ()
        if args:
            self.target: Any = args[0]
            """What it would fill."""
            self._args, self._kwargs = tuple(args[1:]), kwargs
            if filler is SETTER:
                self._index, self._args = self._args[:1], self._args[1:]
        else:
            self.target = kwargs.get("tensor")
            self._args, self._kwargs = (), {key: value for key, value in kwargs.items() if key != "tensor"}

    @property
    def result(self) -> Any:
        """What the call gives, once it is recorded."""
        return None if self.filler is SETTER else self.target

    def is_fit(self) -> bool:
        """Whether its other arguments are numbers that it can be done with: it must fail now, not later."""
        values = (*self._args, *self._kwargs.values()) if self._kwargs else self._args
        if not all(type(value) in NUMBERS or _is_number(value) for value in values):
            return False
        target: Tensor = self.target
        if not target.numel():
            return False
        if self.filler is SETTER:
            return _has(target, self._index)
        types = tuple(map(type, values))
        return self.filler.is_tried or _is_accepted(
            self.filler, target.dtype, target.dim(), self._args, tuple(self._kwargs.items()), types
        )

    def record(self, storage: int, guard: Guard) -> Record:
        """The fill, to be run later; of the memory `storage`, which `guard` looks after."""
        # Nobody else's: who counts references must not see one more, and we have to know which are ours.
        tensor: Tensor = self.target.detach()
        filler = self.filler
        return Record(
            filler.function,
            tensor,
            storage,
            guard,
            (*self._index, *self._args),
            self._kwargs,
            filler.draws,
            filler.overwrites,
        )


@functools.lru_cache(maxsize=4096)
def _is_accepted(
    filler: Filler,
    dtype: torch.dtype,
    dim: int,
    args: tuple[Any, ...],
    kwargs: tuple[tuple[str, Any], ...],
    types: tuple[type, ...],
) -> bool:
    """Whether a function takes some numbers; `types` are theirs, as `1 == 1.0 == True`."""
    try:
        if filler.is_python and filler.function.__name__ in OF_SHAPE:
            _check_kaiming(torch.empty((1,) * dim, device="cpu"), *args, **dict(kwargs))
        else:
            filler.function(torch.empty(0, dtype=dtype, device="cpu"), *args, **dict(kwargs))
    except Exception:  # Whatever it is, it will be raised by the call itself.
        return False
    return True


def _has(tensor: Tensor, index: tuple[Any, ...]) -> bool:
    try:
        GET(tensor, *index)
    except Exception:  # Whatever it is, it will be raised by the call itself.
        return False
    return True


def _check_kaiming(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: None = None
) -> None:
    """Raise what torch's functions would, with their arguments and defaults."""
    nn.init._calculate_correct_fan(tensor, mode)  # type: ignore[arg-type]
    nn.init.calculate_gain(nonlinearity, a)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, (numbers.Number, str)) and isinstance(value, Hashable)


def kind_by_index(function: Callable[..., Any], index: object) -> Kind:
    """An index of numbers and slices makes a view; one of tensors and lists takes values out, or puts them in."""
    parts = index if isinstance(index, tuple) else (index,)
    if not all(
        part is None or part is Ellipsis or (isinstance(part, (int, slice)) and not isinstance(part, bool))
        for part in parts
    ):
        return Kind.READS
    return Kind.VIEWS if function is GET else Kind.FILLS
