"""The signal at one module, its bounds, and where it is out of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ..errors import ConfigError, ConfigTypeError
from ..globs import fqn_pattern
from ..initializers.given_numbers import real

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The bounds of a signal: the lower and the upper end of each range.

    Args:
        std: of a module's output. Glorot and Bengio (2010) and He et al. (2015) ask for one that neither shrinks nor
            grows with depth; the default leaves room for what models as published do, see docs/propagation.md.
        gain: std of a module's output over that of its input; anything by default, because norms have any.
        gradient: root mean square of the gradient at a module's output. At the model's output it is 1.
        dead: the largest share of units that may have one value over the whole batch. A weight that is drawn
            symmetrically around 0, without a bias, kills a ReLU for all of a batch with a probability of at most 1/2,
            at any depth (cf. Lu et al. 2019, "Dying ReLU and initialization"); with 64 units or more, a share of 3/4
            is four standard deviations above that.
        zero_gradient: whether a trainable parameter may not have a gradient of exactly 0, or none.
        ignore: globs over FQNs of modules and parameters that are held to nothing, such as branches that start closed.

    Raises:
        ConfigError: a range that holds nothing.

    Example:
        >>> Bounds(gain=(0.5, 2), ignore="head").gain
        (0.5, 2.0)
    """

    std: Range = (1e-8, 1e3)
    gain: Range = (0.0, math.inf)
    gradient: Range = (1e-10, 1e4)
    dead: float = 0.75
    zero_gradient: bool = True
    ignore: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("std", "gain", "gradient"):
            object.__setattr__(self, name, _range(name, getattr(self, name)))
        dead = real(self.dead, f"Bounds.dead={self.dead!r}")
        if not 0 <= dead <= 1:
            raise ConfigError(f"Bounds.dead={self.dead!r} must be a share, between 0 and 1.", origin="Bounds.dead")
        patterns = (self.ignore,) if isinstance(self.ignore, str) else tuple(self.ignore)
        for pattern in patterns:
            fqn_pattern(pattern)
        object.__setattr__(self, "ignore", patterns)

    def ignores(self, fqn: str) -> bool:
        """Whether a module or parameter, or one of its parents, is exempt from the bounds."""
        above = list(accumulate(fqn.split("."), "{}.{}".format))
        return any(fqn_pattern(pattern)(name) for pattern in self.ignore for name in above)


def _range(name: str, value: object) -> Range:
    label = f"Bounds.{name}={value!r}"
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ConfigTypeError(f"{label} must be a pair: the smallest and the largest.", origin=f"Bounds.{name}")
    low, high = (real(end, label) for end in value)
    if not 0 <= low < high:
        raise ConfigError(f"{label} holds nothing: it must be 0 <= smallest < largest.", origin=f"Bounds.{name}")
    return low, high


@dataclass(frozen=True, kw_only=True)
class Signal:
    """Measurements of one module over all its calls. Of a tuple, dict or dataclass, the first tensor counts.

    Args:
        layer: Class of the module.
        calls: Number of its calls.
        mean: Mean of the finite values of the output; None if there are none.
        std: Standard deviation of the same.
        input_std: Std of the input; None if that holds no real numbers.
        dead: Share of units (channels, features) whose output has one value over the whole batch, 0 or another; None
            if the input has one value only, or each unit is seen once.
        nonfinite: Share of values that are NaN or infinite.
        finite_input: Whether the input was free of them.
        gradient: Root mean square of the gradient at the output; None without one.
        gradient_norm: Euclidean norm of the gradient of the module's own parameters; None without one.
    """

    layer: str
    calls: int
    mean: float | None
    std: float | None
    input_std: float | None
    dead: float | None
    nonfinite: float
    finite_input: bool
    gradient: float | None
    gradient_norm: float | None

    @property
    def gain(self) -> float | None:
        """Std of the output over std of the input.

        Example:
            >>> import torch
            >>> from autoinit import propagate
            >>> layer = torch.nn.Linear(4, 4, bias=False)
            >>> _ = torch.nn.init.orthogonal_(layer.weight, gain=3)
            >>> inputs = torch.cat([torch.eye(4), -torch.eye(4)])
            >>> round(propagate(layer, inputs)[""].gain, 4)
            3.0
        """
        return self.std / self.input_std if self.std is not None and self.input_std else None


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A measurement that is out of bounds.

    Args:
        fqn: FQN of the module or parameter.
        kind: "nonfinite", "vanishing", "exploding", "dead", "vanishing gradient", "exploding gradient",
            "nonfinite gradient" or "zero gradient".
        value: The measured value; None if there is nothing to measure.
        message: The module, the measured value and the bound.
    """

    fqn: str
    kind: str
    value: float | None
    message: str

    def __str__(self) -> str:
        return self.message


Found = Iterator[tuple[str, float | None, str]]
"""Kind, value and text of each measurement of one module or parameter that is out of bounds."""


def flags_of(signals: Mapping[str, Signal], gradients: Mapping[str, float | None], bounds: Bounds) -> Iterator[Flag]:
    """All measurements that are out of bounds: forward, then backward, then parameter by parameter."""
    first = next((fqn for fqn, signal in signals.items() if signal.nonfinite or not signal.finite_input), None)
    forward = ((fqn, _forward(signal, fqn == first, bounds)) for fqn, signal in signals.items())
    text = "the gradient at its output has a root mean square of"
    backward = (
        (fqn, _outside(" gradient", signal.gradient, bounds.gradient, text))
        for fqn, signal in reversed(list(signals.items()))
    )
    named = [(fqn, f"{fqn or 'the root'} ({signals[fqn].layer})", found) for fqn, found in (*forward, *backward)]
    for fqn, norm in gradients.items():
        named.append((fqn, fqn, _parameter(norm, fqn.rpartition(".")[0] in signals, bounds)))
    for fqn, name, found in named:
        if not bounds.ignores(fqn):
            for kind, value, text in found:
                yield Flag(fqn=fqn, kind=kind, value=value, message=f"{name}: {text} ({kind}).")


def _forward(signal: Signal, is_first: bool, bounds: Bounds) -> Found:
    # A module that only passes NaN on is not flagged.
    if is_first or (signal.nonfinite and signal.finite_input):
        source = "its input is not" if signal.finite_input else "so was its input, which no module before it made"
        yield "nonfinite", signal.nonfinite, f"{signal.nonfinite:.3g} of its output is NaN or infinite, and {source}"
    # An input without a signal gives an output without one; the module that made that input is flagged.
    if signal.std is not None and not (signal.std == 0 and signal.input_std == 0):
        came = "" if signal.input_std is None else f" (its input has {signal.input_std:.3g})"
        yield from _outside("", signal.std, bounds.std, "std", came)
    yield from _outside("", signal.gain, bounds.gain, "gain")
    if signal.dead is not None and signal.dead > bounds.dead:
        text = f"{signal.dead:.3g} of its units have one value over the whole batch, more than {bounds.dead:g}"
        yield "dead", signal.dead, text


def _outside(of: str, value: float | None, allowed: Range, name: str, came: str = "") -> Found:
    low, high = allowed
    if value is not None and value < low:
        yield f"vanishing{of}", value, f"{name} {value:.3g}{came}, less than {low:g}"
    elif value is not None and value > high:
        yield f"exploding{of}", value, f"{name} {value:.3g}{came}, more than {high:g}"


def _parameter(norm: float | None, was_called: bool, bounds: Bounds) -> Found:
    if norm is not None and norm != norm:
        yield "nonfinite gradient", norm, "its gradient is not finite"
    elif bounds.zero_gradient and norm == 0:
        yield "zero gradient", norm, "its gradient is exactly 0"
    elif bounds.zero_gradient and norm is None and was_called:
        yield "zero gradient", norm, "no gradient comes to it, though its module was called"
