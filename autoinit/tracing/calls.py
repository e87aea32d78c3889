"""The calls that wrote values to a parameter: what was called with which numbers, and from which line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from ..initializers import Initializer


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
