"""ATen operators: their inputs, outputs, writes and draws by their schemas; and the mode that sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .. import _torch

Arguments: TypeAlias = tuple[tuple[int, str], ...]  # Positions and names of arguments.


class Kind(Enum):
    """The way in which an operator is recorded."""

    NEUTRAL = "views, shapes and dtypes: no value is read or written"
    EMPTY = "makes memory without values"
    LIFTS = "passes on a tensor that torch made from Python numbers, or from an array of another library"
    SETS = "gives a tensor other memory"
    RESIZES = "makes the memory of a tensor larger, if need be"
    COMPUTES = "all others"


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


OVERWRITES = names("""
    fill_ zero_ copy_ set_ normal_ uniform_ log_normal_ exponential_ cauchy_ geometric_ random_ bernoulli_
    _foreach_copy_ _foreach_zero_
""")
COPIES = names("clone _to_copy copy_ lift alias_copy detach_copy view_copy _copy_from _foreach_copy_")
"""Results that have every value of the source."""
COLLECTIVE = names("c10d _c10d_functional c10d_functional _c10d_functional_autograd symm_mem")
OF_TORCH = COLLECTIVE | names("""
    aten prims prim quantized _quantized quantization onednn mkldnn mkldnn_prepacked mkl sparse static_runtime inductor
    inductor_prims profiler fsdp _dtensor debugprims rngprims _native debug_mode_ops export _test
""")
"""Namespaces of the operators that come with torch. Other operators may do more than compute."""
FROM_FILE = "a file"
CONSTANT_FILLS = ("fill_", "zero_")
SELECTIVE = names("index_fill index_put masked_fill masked_scatter scatter tril triu")
"""Operators that leave each element as it is, or replace it."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Operator:
    """One overload of an operator, by its schema."""

    function: Callable[..., Any]
    name: str  # As `aten.normal_.default`.
    kind: Kind = Kind.COMPUTES
    taken: Arguments | None = None  # Arguments that are tensors or lists of tensors; None if unknown.
    written: Arguments = ()
    overwrites: bool = False  # All values of its written arguments are replaced.
    copies: bool = False
    draws: bool = False
    reads: bool = True
    pointwise: bool = False  # Each element of its result depends only on the elements at the same place.
    can_wait: bool = False  # It may be postponed: it works in-place on the first argument, each element by itself.
    collective: bool = False
    reason: str = ""  # The reason that its result is always data; "" if that depends on its inputs.
    calls_others: bool = False  # It runs code that is not watched: another library's, or functions among its arguments.


TRUNC_NORMAL = Operator(
    function=_torch.no_grad_trunc_normal,  # As it is before a block replaces it.
    name=f"torch.nn.init.{_torch.NO_GRAD_TRUNC_NORMAL}",
    draws=True,
    overwrites=True,
    can_wait=True,
)
"""A Python function that is postponed as a whole, because it reads what it has drawn and draws again."""


class Call:
    """One call of an operator, with the tensors among its arguments and those that it writes."""

    __slots__ = ("args", "kwargs", "operator", "tensors", "written")

    def __init__(self, operator: Operator, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.operator, self.args, self.kwargs = operator, args, kwargs
        self.tensors = list(tensors_in((args, kwargs))) if operator.taken is None else self._tensors(operator.taken)
        self.written = self.tensors if operator.collective else self._tensors(operator.written)

    def reads_too(self, tensor: Tensor) -> bool:
        """True if the values written to a tensor depend on its old ones: `x.mul_(2)`, `mul(x, 2, out=x)`."""
        return not self.operator.overwrites or sum(each is tensor for each in self.tensors) > 1

    def _tensors(self, arguments: Arguments) -> list[Tensor]:
        found: list[Tensor] = []
        for index, name in arguments:
            value = self.args[index] if index < len(self.args) else self.kwargs.get(name)
            if isinstance(value, Tensor):
                found.append(value)
            elif value is not None:
                found += tensors_in(value)
        return found


@lru_cache(maxsize=4096)
def operator_of(function: Any) -> Operator:
    """Read the schema of an operator, once."""
    if not isinstance(function, _torch.OpOverload):
        # One that takes functions, as `torch.cond` does, has no schema.
        return Operator(function=function, name=str(function), draws=True, calls_others=True)
    schema, namespace = _torch.schema_of(function), function.namespace
    base = schema.name.partition("::")[2]
    arguments = list(enumerate(schema.arguments))
    written = tuple((index, each.name) for index, each in arguments if each.alias_info and each.alias_info.is_write)
    draws = torch.Tag.nondeterministic_seeded in function.tags
    in_place = base.endswith("_") and not base.startswith("_") and [index for index, _ in written] == [0]
    pointwise = torch.Tag.pointwise in function.tags or base.rstrip("_") in SELECTIVE
    reason = "a collective" if namespace in COLLECTIVE else FROM_FILE if base == "from_file" else ""
    if namespace not in OF_TORCH:
        reason = f"the operator {function}, which does not come with torch"
    kind = _kind_of(function, base, written)
    return Operator(
        function=function,
        name=str(function),
        kind=kind,
        taken=tuple((index, each.name) for index, each in arguments if "Tensor" in str(each.type)),
        written=written,
        overwrites=base in OVERWRITES or (bool(written) and not in_place and not base.startswith("_")),
        copies=base in COPIES,
        draws=draws,
        reads=kind is Kind.COMPUTES and not (base.endswith("_like") or base.startswith("new_")),
        pointwise=pointwise,
        can_wait=in_place and (pointwise or base in CONSTANT_FILLS or (draws and base in OVERWRITES)),
        collective=namespace in COLLECTIVE,
        reason=reason,
        calls_others=namespace not in OF_TORCH,
    )


def _kind_of(function: _torch.OpOverload, base: str, written: Arguments) -> Kind:
    if base in ("lift_fresh", "lift"):
        return Kind.LIFTS
    if base in ("resize_", "resize_as_"):
        return Kind.RESIZES
    if base == "set_":
        return Kind.SETS
    if base.startswith(("empty", "new_empty")) or base == "_efficientzerotensor":
        return Kind.EMPTY
    returned = [each.alias_info for each in _torch.schema_of(function).returns]
    is_view = not written and returned and all(info is not None and not info.is_write for info in returned)
    return Kind.NEUTRAL if is_view or torch.Tag.inplace_view in function.tags else Kind.COMPUTES


def tensors_in(value: object) -> Iterator[Tensor]:
    """The tensors in an argument, also those in lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, Tensor):
                yield item
            elif not isinstance(item, (int, float, str)):
                yield from tensors_in(item)


@lru_cache(maxsize=1024)
def handles_operators(cls: type) -> bool:
    """True if a subclass of Tensor handles operators itself; parameters do not."""
    return cls.__torch_dispatch__ is not Tensor.__torch_dispatch__  # type: ignore[attr-defined]


class OperatorMode(_torch.TorchDispatchMode):
    """Sees every operator. `handle` gets the operator and its arguments, and calls it."""

    supports_higher_order_operators = True

    def __init__(self, handle: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._handle = handle
        self.is_running = False  # True while an operator is handled.

    def put(self, on: bool) -> None:
        """Put it at the bottom of the stack, so that the modes above it can be left before it; or take it off."""
        if not self.is_running:  # torch puts back the mode whose handler is running by itself.
            modes = _torch.take_dispatch_modes()
            if self in modes:
                modes.remove(self)
            _torch.put_dispatch_modes([self, *modes] if on else modes)

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
        before, self.is_running = self.is_running, True
        try:
            return self._handle(func, args, kwargs or {})
        finally:
            self.is_running = before
