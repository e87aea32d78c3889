"""The trace of one model: for each parameter the calls that filled it, with their numbers and lines, in order."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import groupby
from typing import Any

import torch
from torch import nn

from ..initializers import Initializer
from ..planning.entries import shape_text
from ..tables import LONG, Result, Table


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call that wrote values to a parameter, or to a part of it.

    Args:
        function: Name of the function (`kaiming_uniform_`), of torch's operator (`normal_`, `randn`), or "copy",
            "load_state_dict" and the like.
        arguments: Its arguments by name as they were passed, without the tensor and without those that have their
            default: numbers, strings, and names of types.
        text: The call as text: `trunc_normal_(std=0.02)`, `randn() * 0.02`, `copy of encoder.weight`.
        file: File of the line that called it, or "" where the line is not known.
        line: Number of that line, from 1; 0 where it is not known.
        source: Text of that line; "" where there is none.
        module: FQN of the nearest module whose method has that line, "" for the root; None if no module of the model
            has it.
        layer: Class name of that module, or "".
        part: The part that it wrote, as an index (`[0]`); "" if it wrote the whole parameter.
        overwritten: Whether later calls replaced everything that it wrote.
        initializer: The initializer of autoinit that gives the parameter the values that it has after this call, if
            there is one.
    """

    function: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    text: str
    file: str = ""
    line: int = 0
    source: str = ""
    module: str | None = None
    layer: str = ""
    part: str = ""
    overwritten: bool = False
    initializer: Initializer | None = None

    def __str__(self) -> str:
        return f"{self.part} {self.text}" if self.part else self.text

    @property
    def where(self) -> str:
        """File without its folders, and line: `linear.py:124`."""
        return f"{os.path.basename(self.file)}:{self.line}" if self.file else ""

    def to_dict(self) -> dict[str, Any]:
        """Strings, numbers, lists and dicts only."""
        shown = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "text"}
        initializer = None if self.initializer is None else str(self.initializer)
        return {"call": str(self), **shown, "arguments": dict(self.arguments), "initializer": initializer}


@dataclass(frozen=True, kw_only=True)
class TracedParameter:
    """What the code of a model did to one of its parameters.

    Args:
        fqn: Its name; for a tied parameter the first of its names.
        shape: Its shape; None while it is lazy.
        dtype: Its dtype.
        layer: Class name of the module that owns it.
        calls: The calls that wrote to it, in order, those that later calls overwrote included.
        initializer: The initializer of autoinit that fills it alike; None if there is none. A padding row that is
            set to zero afterwards does not count, as autoinit sets it to zero, too.
        aliases: The other names of a tied parameter.
        through: The parametrization that forward computes it with (`"weight_norm"`), or "".
        stored: The parameters that are then stored for it.
    """

    fqn: str
    shape: tuple[int, ...] | None
    dtype: torch.dtype
    layer: str
    calls: tuple[Call, ...] = ()
    initializer: Initializer | None = None
    aliases: tuple[str, ...] = ()
    through: str = ""
    stored: tuple[str, ...] = ()

    @property
    def effective(self) -> tuple[Call, ...]:
        """The calls of which something is left, in order."""
        return tuple(call for call in self.calls if not call.overwritten)

    def to_dict(self) -> dict[str, Any]:
        """Strings, numbers, lists and dicts only."""
        return {
            "shape": None if self.shape is None else list(self.shape),
            "dtype": str(self.dtype).removeprefix("torch."),
            "layer": self.layer,
            "initializer": None if self.initializer is None else str(self.initializer),
            "aliases": list(self.aliases),
            "through": self.through or None,
            "calls": [call.to_dict() for call in self.calls],
        }


COLUMNS = ("parameter", "shape", "calls", "overwritten", "line")


class Trace(Result, Mapping[str, tuple[Call, ...]]):
    """The calls that filled each parameter of one model, by FQN in model order; any other name finds them as well.

    Args:
        model: Class name of the root.
        parameters: By FQN, in model order.
        root: The model, which the trace does not keep alive.

    Attributes:
        parameters: `TracedParameter` by FQN: shape, dtype, layer, aliases, calls and initializer of each.

    Example:
        >>> import torch
        >>> from autoinit import trace
        >>> with trace() as t:
        ...     layer = torch.nn.Linear(4, 3)
        >>> t["bias"][0].text, t.parameters["bias"].shape, str(t.fills["bias"])
        ('uniform_(a=-0.5, b=0.5)', (3,), 'Uniform(a=-0.5, b=0.5)')
    """

    def __init__(self, model: str, parameters: Mapping[str, TracedParameter], root: nn.Module | None = None) -> None:
        self._model, self._parameters = model, dict(parameters)
        self._root = None if root is None else weakref.ref(root)

    @property
    def _only(self) -> Trace:
        """The trace that is read: of a block, that of its only model."""
        return self

    @property
    def model(self) -> str:
        """Class name of the root."""
        return self._only._model

    @property
    def parameters(self) -> Mapping[str, TracedParameter]:
        """Shape, dtype, layer, aliases, calls and initializer of each parameter, by FQN in model order."""
        return self._only._parameters

    @property
    def root(self) -> nn.Module | None:
        """The model; None if it is gone, or if the trace was unpickled."""
        root = self._only._root
        return None if root is None else root()

    @property
    def fills(self) -> Mapping[str, Initializer | None]:
        """For each parameter the initializer that fills it alike, or None if autoinit has none."""
        return {fqn: each.initializer for fqn, each in self.parameters.items()}

    def __getitem__(self, name: str) -> tuple[Call, ...]:
        found = self.parameters.get(name)
        if found is None:
            others = (each for each in self.parameters.values() if name in each.stored or name in each.aliases)
            found = next(others, None)
        if found is None:
            raise KeyError(name)
        return found.calls

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, Trace) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Trace, (self.model, dict(self.parameters))

    def table(self, *, full: bool = False) -> Table:
        """One row per parameter: name, shape, calls, calls that those overwrote, and the line of the first call.

        Args:
            full: Whether to show every parameter of a large model. By default parameters that differ only in numbers
                of their names share a row. If the rows are still many, they have no shapes, and then no overwritten
                calls.
        """
        if full or len(self) <= LONG:
            return self._table(COLUMNS)
        tables: list[Table] = []
        for left_out in ((), ("shape",), ("shape", "overwritten")):
            tables.append(self._table(tuple(title for title in COLUMNS if title not in left_out)).folded())
            if len(tables[-1].rows) <= LONG:
                break
        return min(tables, key=lambda table: len(table.rows))

    def _table(self, columns: tuple[str, ...]) -> Table:
        rows = [
            dict(zip(COLUMNS, (fqn, shape_text(each.shape), *_cells(each)), strict=True))
            for fqn, each in self.parameters.items()
        ]
        return Table(
            title=f"Trace of {self.model}",
            columns=columns,
            optional=("overwritten", "shape"),
            whole=("calls", "overwritten"),
            rows=[tuple(row[title] for title in columns) for row in rows],
            caption=self.caption,
        )

    @property
    def caption(self) -> str:
        """The totals in one line."""
        found = self.parameters.values()
        calls = sum(len(each.calls) for each in found)
        overwritten = sum(call.overwritten for each in found for call in each.calls)
        without = sum(not each.calls for each in found)
        unknown = f", {without} without calls" if without else ""
        return f"{len(found)} parameters{unknown}; {calls} calls, {overwritten} of them overwritten"

    def to_cfg(self) -> list[dict[str, Any]]:
        """A short config that fills the model as its own code does.

        It has rules by layer type first, then rules by name for what differs from these. It is planned on the model,
        and what turns out otherwise is mended. `to_yaml` also names the parameters that no rule can fill so.

        Raises:
            StateError: The model is gone.

        Example:
            >>> from torch import nn
            >>> from autoinit import trace
            >>> with trace() as traced:
            ...     model = nn.Sequential(nn.Embedding(8, 8), nn.LayerNorm(8))
            >>> traced.to_cfg()
            [{'type': 'Normal', 'layer': 'Embedding'}, {'type': 'Constant', 'layer': 'LayerNorm', 'val': 1}]
        """
        from .config_of_calls import ConfigOfCalls

        return ConfigOfCalls(self).rules

    def to_yaml(self) -> str:
        """The config of `to_cfg` as YAML, with the calls and source lines that each rule stands for as comments.

        Raises:
            StateError: The model is gone.
        """
        from .config_of_calls import ConfigOfCalls

        return ConfigOfCalls(self).to_yaml()

    def to_dict(self) -> dict[str, Any]:
        """Everything as strings, numbers, lists and dicts."""
        return {"model": self.model, "parameters": {fqn: each.to_dict() for fqn, each in self.parameters.items()}}

    def __repr__(self) -> str:
        return f"Trace({self.model}: {self.caption})"


def _cells(parameter: TracedParameter) -> tuple[str, str, str]:
    """The calls of which something is left, those that they overwrote, and the line of the first one that is left."""
    counts = ((text, sum(1 for _ in group)) for text, group in groupby(map(str, parameter.effective)))
    # Calls are repeated by the steps of an optimizer, for example.
    left = ", then ".join(f"{text} x{count}" if count > 1 else text for text, count in counts)
    overwritten = ", ".join(str(call) for call in parameter.calls if call.overwritten)
    return left or "(no call seen)", overwritten, next((call.where for call in parameter.effective), "")
