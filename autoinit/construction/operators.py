"""What the schema of an ATen operator says of it: what it reads, writes, makes and draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .. import _torch


class Kind(Enum):
    """How an operator is watched."""

    NEUTRAL = "neutral"
    """Views, shapes and dtypes: no value is read or written."""
    EMPTY = "empty"
    """Makes memory without values."""
    LIFTS = "lifts"
    """Announces a tensor that torch made from Python numbers, or from an array of another library."""
    SETS = "sets"
    """Gives a tensor other memory."""
    RESIZES = "resizes"
    """Makes the memory of a tensor larger, if need be."""
    COMPUTES = "computes"
    """All others."""


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
"""Namespaces of the operators that come with torch. What others do besides computing, nobody knows."""
SCALARS = (int, float, str)
CONSTANT_FILLS = frozenset({"fill_", "zero_"})
SELECTIVE = names("index_fill index_put masked_fill masked_scatter scatter tril triu")
"""Operators that leave each element as it is, or replace it."""


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """One overload of an operator.

    Args:
        name: as `aten.normal_.default`.
        kind: how it is watched.
        written: positions and names of the arguments that it writes.
        overwrites: whether nothing is left of what was there.
        copies: whether its result has just the values of its source.
        draws: whether it draws from a generator.
        reads: whether it looks at the values of its tensor arguments.
        pointwise: whether each element of its result depends on the elements in the same place alone.
        arithmetic: whether it changes each element of its first argument by itself, in place.
        collective: whether other processes take part.
        from_file: whether it reads a file.
        reason: why its result is data, whatever it reads; "" if it depends on that.
        calls_others: whether it runs code in which nothing is watched: another library's, or functions it is given.
        taken: positions and names of the arguments that are tensors, or lists of them; None if any may be.
    """

    name: str
    kind: Kind
    written: tuple[tuple[int, str], ...] = ()
    overwrites: bool = False
    copies: bool = False
    draws: bool = False
    reads: bool = True
    pointwise: bool = False
    arithmetic: bool = False
    collective: bool = False
    from_file: bool = False
    reason: str = ""
    calls_others: bool = False
    taken: tuple[tuple[int, str], ...] | None = None


class Call:
    """One call of an operator.

    Args:
        operator: what is called.
        args: its positional arguments.
        kwargs: the others.
    """

    __slots__ = ("args", "kwargs", "operator", "tensors", "written")

    def __init__(self, operator: Operator, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.operator, self.args, self.kwargs = operator, args, kwargs
        self.tensors = list(tensors_in((args, kwargs))) if operator.taken is None else self._among(operator.taken)
        """All that are among its arguments."""
        self.written = self.tensors if operator.collective else self._among(operator.written)
        """Those of them that it writes."""

    def reads_too(self, tensor: Tensor) -> bool:
        """Whether the values that it writes to a tensor depend on the tensor's own: `x.mul_(2)`, `mul(x, 2, out=x)`."""
        return not self.operator.overwrites or sum(each is tensor for each in self.tensors) > 1

    def _among(self, places: Iterable[tuple[int, str]]) -> list[Tensor]:
        found: list[Tensor] = []
        args = self.args
        for index, name in places:
            value = args[index] if index < len(args) else self.kwargs.get(name)
            if isinstance(value, Tensor):
                found.append(value)
            elif value is not None:
                found += tensors_in(value)
        return found


@lru_cache(maxsize=4096)
def operator_of(function: Any) -> Operator:
    """Read the schema of an operator, once.

    Example:
        >>> operator = operator_of(torch.ops.aten.normal_.default)
        >>> operator.name, operator.draws, operator.overwrites, operator.kind
        ('aten.normal_.default', True, True, <Kind.COMPUTES: 'computes'>)
    """
    if not isinstance(function, _torch.OpOverload):
        # One that takes functions, as `torch.cond` does, has no schema.
        return Operator(str(function), Kind.COMPUTES, draws=True, calls_others=True)
    schema = _torch.schema_of(function)
    base = schema.name.partition("::")[2]
    arguments = [(index, argument.name, argument) for index, argument in enumerate(schema.arguments)]
    taken = tuple((index, name) for index, name, argument in arguments if "Tensor" in str(argument.type))
    written = tuple(
        (index, name)
        for index, name, argument in arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    draws = torch.Tag.nondeterministic_seeded in function.tags
    in_place = base.endswith("_") and not base.startswith("_") and [index for index, _ in written] == [0]
    pointwise = torch.Tag.pointwise in function.tags or base.rstrip("_") in SELECTIVE
    return Operator(
        name=str(function),
        kind=_kind_of(function, base, written),
        written=written,
        overwrites=base in OVERWRITES or (bool(written) and not in_place and not base.startswith("_")),
        copies=base in COPIES,
        draws=draws,
        reads=not (base.endswith("_like") or base.startswith("new_")),
        pointwise=pointwise,
        arithmetic=in_place and (pointwise or base in CONSTANT_FILLS or (draws and base in OVERWRITES)),
        collective=function.namespace in COLLECTIVE,
        from_file=base == "from_file",
        reason=_reason_of(function, base),
        calls_others=function.namespace not in OF_TORCH,
        taken=taken,
    )


def _kind_of(function: Any, base: str, written: Sequence[object]) -> Kind:
    if base in ("lift_fresh", "lift"):
        return Kind.LIFTS
    if base in ("resize_", "resize_as_"):
        return Kind.RESIZES
    if base == "set_":
        return Kind.SETS
    if base.startswith(("empty", "new_empty")) or base == "_efficientzerotensor":
        return Kind.EMPTY
    if torch.Tag.inplace_view in function.tags:
        return Kind.NEUTRAL
    views = [value.alias_info for value in _torch.schema_of(function).returns]
    if not written and views and all(info is not None and not info.is_write for info in views):
        return Kind.NEUTRAL
    return Kind.COMPUTES


def _reason_of(function: Any, base: str) -> str:
    if function.namespace in COLLECTIVE:
        return "a collective"
    if base == "from_file":
        return "a file"
    return "" if function.namespace in OF_TORCH else f"the operator {function}, which does not come with torch"


def tensors_in(value: object) -> Iterator[Tensor]:
    """The tensors in an argument, also those in lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, Tensor):
                yield item
            elif not isinstance(item, SCALARS):
                yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
