"""What is out of bounds, by what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .bounds import Bounds, Range
from .signals import Signal


@dataclass(frozen=True, kw_only=True)
class Flag:
    """Something that is out of bounds.

    Args:
        fqn: of the module or parameter.
        kind: "nonfinite", "vanishing", "exploding", "dead", "vanishing gradient", "exploding gradient",
            "nonfinite gradient" or "zero gradient".
        value: what was measured; None where there is nothing to measure.
        message: the module, what was found, and what the bound is.
    """

    fqn: str
    kind: str
    value: float | None
    message: str

    def __str__(self) -> str:
        return self.message


Found = Iterator[tuple[str, float | None, str]]
"""Kind, value and text of what is out of bounds in one module or parameter."""


def flags_of(signals: Mapping[str, Signal], gradients: Mapping[str, float | None], bounds: Bounds) -> Iterator[Flag]:
    """What is out of bounds, in the order in which it happens: forward, then backward, then parameter by parameter."""
    first = next((fqn for fqn, signal in signals.items() if signal.nonfinite or not signal.finite_input), None)
    forward = ((fqn, _forward(signal, fqn == first, bounds)) for fqn, signal in signals.items())
    backward = ((fqn, _backward(signal, bounds)) for fqn, signal in reversed(list(signals.items())))
    for fqn, found in (*forward, *backward):
        if not bounds.ignores(fqn):
            yield from _flags(fqn, f"{fqn or 'the root'} ({signals[fqn].layer})", found)
    for fqn, norm in gradients.items():
        if not bounds.ignores(fqn):
            yield from _flags(fqn, fqn, _parameter(norm, fqn.rpartition(".")[0] in signals, bounds))


def _flags(fqn: str, subject: str, found: Found) -> Iterator[Flag]:
    for kind, value, text in found:
        yield Flag(fqn=fqn, kind=kind, value=value, message=f"{subject}: {text} ({kind}).")


def _forward(signal: Signal, is_first: bool, bounds: Bounds) -> Found:
    # A module that passes NaN on is not at fault.
    if is_first or (signal.nonfinite and signal.finite_input):
        source = (
            "and its input is not" if signal.finite_input else "and so was its input, which no module before it made"
        )
        yield "nonfinite", signal.nonfinite, f"{signal.nonfinite:.3g} of its output is NaN or infinite, {source}"
    # An input without a signal gives an output without one; the module that made that input is flagged.
    if signal.std is not None and not (signal.std == 0 and signal.input_std == 0):
        came = "" if signal.input_std is None else f" (its input has {signal.input_std:.3g})"
        yield from _outside("", signal.std, bounds.std, f"std {signal.std:.3g}{came}")
    if signal.gain is not None:
        yield from _outside("", signal.gain, bounds.gain, f"gain {signal.gain:.3g}")
    if signal.dead is not None and signal.dead > bounds.dead:
        text = f"{signal.dead:.3g} of its units have one value over the whole batch, more than {bounds.dead:g}"
        yield "dead", signal.dead, text


def _backward(signal: Signal, bounds: Bounds) -> Found:
    if signal.gradient is not None:
        text = f"the gradient at its output has a root mean square of {signal.gradient:.3g}"
        yield from _outside(" gradient", signal.gradient, bounds.gradient, text)


def _outside(what: str, value: float, allowed: Range, text: str) -> Found:
    low, high = allowed
    if value < low:
        yield f"vanishing{what}", value, f"{text}, less than {low:g}"
    elif value > high:
        yield f"exploding{what}", value, f"{text}, more than {high:g}"


def _parameter(norm: float | None, was_called: bool, bounds: Bounds) -> Found:
    if norm is not None and norm != norm:
        yield "nonfinite gradient", norm, "its gradient is not finite"
    elif bounds.zero_gradient and norm == 0:
        yield "zero gradient", norm, "its gradient is exactly 0"
    elif bounds.zero_gradient and norm is None and was_called:
        yield "zero gradient", norm, "no gradient comes to it, though its module was called"
