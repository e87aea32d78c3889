"""From what was measured to what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .bounds import Bounds, Range
from .signals import Flag, Signal


def flags_of(
    signals: Mapping[str, Signal], gradients: Mapping[str, float | None], unreached: tuple[str, ...], bounds: Bounds
) -> Iterator[Flag]:
    """What is out of bounds, in the order in which it happens: forward, then backward, then parameter by parameter."""
    first = next((fqn for fqn, signal in signals.items() if signal.nonfinite or not signal.finite_input), None)
    for fqn, signal in signals.items():
        if not bounds.ignores(fqn):
            yield from _nonfinite(fqn, signal, fqn == first)
            yield from _forward(fqn, signal, bounds)
    for fqn, signal in reversed(list(signals.items())):
        if not bounds.ignores(fqn):
            yield from _backward(fqn, signal, bounds)
    for fqn, norm in gradients.items():
        if not bounds.ignores(fqn):
            yield from _parameter(fqn, norm, fqn in unreached and fqn.rpartition(".")[0] in signals, bounds)


def _nonfinite(fqn: str, signal: Signal, is_first: bool) -> Iterator[Flag]:
    # What passes them on is not at fault.
    if not (signal.nonfinite and signal.finite_input) and not is_first:
        return
    text = f"{signal.nonfinite:.3g} of its output is NaN or infinite"
    text += (
        ", and its input is not" if signal.finite_input else ", and so was its input, which no module before it made"
    )
    yield _flag(fqn, signal, "nonfinite", signal.nonfinite, text)


def _forward(fqn: str, signal: Signal, bounds: Bounds) -> Iterator[Flag]:
    # Out of an input without a signal nothing can come; what made that input is flagged.
    if signal.std is not None and not (signal.std == 0 and signal.input_std == 0):
        came = "" if signal.input_std is None else f" (its input has {signal.input_std:.3g})"
        yield from _range(fqn, signal, "", signal.std, bounds.std, f"std {signal.std:.3g}{came}")
    if signal.gain is not None:
        yield from _range(fqn, signal, "", signal.gain, bounds.gain, f"gain {signal.gain:.3g}")
    if signal.dead is not None and signal.dead > bounds.dead:
        text = f"{signal.dead:.3g} of its units have one value over the whole batch, more than {bounds.dead:g}"
        yield _flag(fqn, signal, "dead", signal.dead, text)


def _backward(fqn: str, signal: Signal, bounds: Bounds) -> Iterator[Flag]:
    if signal.gradient is not None:
        text = f"the gradient at its output has a root mean square of {signal.gradient:.3g}"
        yield from _range(fqn, signal, " gradient", signal.gradient, bounds.gradient, text)


def _range(fqn: str, signal: Signal, what: str, value: float, allowed: Range, text: str) -> Iterator[Flag]:
    low, high = allowed
    if value < low:
        yield _flag(fqn, signal, f"vanishing{what}", value, f"{text}, less than {low:g}")
    elif value > high:
        yield _flag(fqn, signal, f"exploding{what}", value, f"{text}, more than {high:g}")


def _flag(fqn: str, signal: Signal, kind: str, value: float, text: str) -> Flag:
    return Flag(fqn=fqn, kind=kind, value=value, message=f"{fqn or 'the root'} ({signal.layer}): {text} ({kind}).")


def _parameter(fqn: str, norm: float | None, is_cut_off: bool, bounds: Bounds) -> Iterator[Flag]:
    if norm is not None and norm != norm:
        yield Flag(
            fqn=fqn,
            kind="nonfinite gradient",
            value=norm,
            message=f"{fqn}: its gradient is not finite (nonfinite gradient).",
        )
    elif bounds.zero_gradient and (norm == 0 or is_cut_off):
        text = "its gradient is exactly 0" if norm == 0 else "no gradient comes to it, though its module was called"
        yield Flag(fqn=fqn, kind="zero gradient", value=norm, message=f"{fqn}: {text} (zero gradient).")
