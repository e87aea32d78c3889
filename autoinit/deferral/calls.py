"""One call of a function of torch, looked at as a fill."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
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

_EMPTY: dict[torch.dtype, Tensor] = {}


class Call:
    """A function of torch with its arguments.

    Args:
        function: as the mode is told of it.
        args, kwargs: as they were passed.
        whole: whether it is a function in Python that fills its first argument, and draws.
    """

    def __init__(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], *, whole: bool = False
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self._whole = whole
        self.index = args[1] if (function is GET or function is SET) and len(args) > 1 else None

    @property
    def target(self) -> Any:
        """What it would fill."""
        return self.args[0] if self.args else self.kwargs.get("tensor")

    @property
    def kind_by_index(self) -> Kind:
        """An index of numbers and slices makes a view; one of tensors and lists takes values out, or puts them in."""
        if not _is_basic(self.index):
            return Kind.READS
        return Kind.VIEWS if self.function is GET else Kind.FILLS

    @property
    def draws(self) -> bool:
        """Whether it draws from a generator."""
        return self._whole or self.function in DRAWING or (self._is_init and self._name != "constant_")

    @property
    def result(self) -> Any:
        """What the call gives, once it is recorded."""
        return None if self.function is SET else self.target

    @property
    def is_without_grad(self) -> bool:
        """Whether it sees to it itself that nothing of it is differentiated."""
        return self._whole or self._is_init

    @property
    def _name(self) -> str:
        return str(self.function.__name__)

    @property
    def _is_init(self) -> bool:
        return not self._whole and isinstance(self.function, FunctionType) and self._name in INIT

    @property
    def _rest(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(self.args[1:]), {key: value for key, value in self.kwargs.items() if key != "tensor"}

    def is_fit(self) -> bool:
        """Whether its other arguments are numbers that it can be done with: it must fail now, not later."""
        args, kwargs = self._rest
        if not all(map(_is_number, (*(args[1:] if self.function is SET else args), *kwargs.values()))):
            return False
        target = self.target
        if not target.numel():
            return False
        if self._whole:
            return True
        try:
            if self.function is SET:
                GET(target, self.index)
            elif self._is_init and self._name in OF_SHAPE:
                _check_kaiming(target, *args, **kwargs)
            else:
                self._function(_empty(target.dtype), *args, **kwargs)
        except Exception:  # Whatever it is, it will be raised by the call itself.
            return False
        return True

    @property
    def _function(self) -> Callable[..., Any]:
        return INIT[self._name] if self._is_init else self.function

    def record(self, guard: Guard) -> Record:
        """The fill, to be run later; `guard` is that of the memory."""
        args, kwargs = self._rest
        # Nobody else's: who counts references must not see one more, and we have to know which are ours.
        tensor: Tensor = self.target.detach()
        return Record(
            function=self._function,
            tensor=tensor,
            guard=guard,
            args=args,
            kwargs=kwargs,
            draws=self.draws,
            overwrites=self._whole or self._is_init or self.function in OVERWRITING,
        )


def _check_kaiming(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: None = None
) -> None:
    """Raise what torch's functions would, with their arguments and defaults."""
    nn.init._calculate_correct_fan(tensor, mode)  # type: ignore[arg-type]
    nn.init.calculate_gain(nonlinearity, a)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, (numbers.Number, str))


def _is_basic(index: object) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or (isinstance(part, (int, slice)) and not isinstance(part, bool))
        for part in parts
    )


def _empty(dtype: torch.dtype) -> Tensor:
    found = _EMPTY.get(dtype)
    if found is None:
        found = _EMPTY[dtype] = torch.empty(0, dtype=dtype, device="cpu")
    return found
