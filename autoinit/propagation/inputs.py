"""What a model is called with: as given, or guessed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .guesses import first_layer, guesses
from .pretrained import is_pretrained, pretrained_inputs
from .state import seeded, unchanged
from .tensors import shapes_in

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, kw_only=True)
class Call:
    """The arguments of one forward pass, and where they are from."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    origin: str

    def __call__(self, model: nn.Module) -> Any:
        return model(*self.args, **self.kwargs)

    def __str__(self) -> str:
        named = ", ".join(f"{name}: {shapes_in(value)}" for name, value in self.kwargs.items() if shapes_in(value))
        return f"{', '.join(filter(None, (shapes_in(self.args), named))) or 'no tensors'} ({self.origin})"


def given(inputs: object) -> Call:
    """A call with what the user gave: a tuple of arguments, a mapping of named ones, or anything else as the only one.

    Example:
        >>> str(given((torch.ones(2, 3), torch.ones(2)))), str(given({"x": torch.ones(2, 3)}))
        ('2 x 3, 2 (given)', 'x: 2 x 3 (given)')
    """
    if isinstance(inputs, Mapping):
        return Call(kwargs=dict(inputs), origin="given")
    return Call(args=inputs if isinstance(inputs, tuple) else (inputs,), origin="given")


def guessed(model: nn.Module, batch: int, seed: int) -> Call:
    """The first of some likely inputs that the model can be called with.

    Raises:
        InputError: there is none; it says what forward wants.
    """
    failed: list[tuple[Call, Exception]] = []
    for call, trial in zip(_calls(model, batch, seed), _calls(model, min(batch, 2), seed), strict=True):
        with torch.no_grad(), unchanged(model), seeded(seed, model):
            error = _error_of(trial, model)
        if error is None:
            return call
        failed.append((call, error))
    raise InputError(_complaint(model, failed)) from (failed[0][1] if failed else None)


def _error_of(call: Call, model: nn.Module) -> Exception | None:
    try:
        call(model)
    except Exception as error:  # Whatever a model says to an input that is not for it; the user is told.
        return error
    return None


def _calls(model: nn.Module, batch: int, seed: int) -> Iterator[Call]:
    generator = torch.Generator().manual_seed(seed)
    if is_pretrained(model):
        for inputs in pretrained_inputs(model, batch, generator):
            yield Call(kwargs=inputs, origin="guessed")
    elif len(_required(model)) < 2:
        for tensor in guesses(model, batch, generator):
            yield Call(args=(tensor,), origin="guessed")


def _required(model: nn.Module) -> list[str]:
    """The arguments of forward that have no default."""
    parameters = inspect.signature(model.forward).parameters.values()
    return [each.name for each in parameters if each.default is each.empty and each.kind not in VARIADIC]


def _complaint(model: nn.Module, failed: list[tuple[Call, Exception]]) -> str:
    name, required = type(model).__name__, _required(model)
    signature = inspect.signature(model.forward)
    text = f"{name}.forward{signature}: its inputs cannot be guessed"
    if failed:
        tried = "; ".join(f"{call}: {type(error).__name__}: {_first_line(error)}" for call, error in failed)
        text += f", it fails with what was tried. {tried}."
    elif len(required) > 1:
        text += f": it wants {len(required)} arguments."
    else:
        layer = first_layer(model)
        text += ", because it has no layer that says what it takes." if layer is None else "."
    names = required or [each.name for each in signature.parameters.values() if each.kind in POSITIONAL][:1]
    example = f"propagate(model, dict({', '.join(f'{each}=...' for each in names)}))"
    return f"{text} Pass them: a tensor, a tuple of arguments, or a dict by name, as in {example}."


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else "no message"
