"""An initializer times a factor."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .. import fills
from ..errors import ConfigError, ConfigTypeError, ShapeError
from ..fills import Fill, TensorSpec
from ..sampling.truncation import float32
from .basic import Keep
from .callables import Function
from .given_numbers import number
from .initializer import Initializer, shown


@dataclass(frozen=True, kw_only=True)
class Scaled(Initializer):
    """The values of another initializer, times a factor: the key `scale` of a rule.

    Args:
        of: The other initializer.
        scale: The factor.

    Raises:
        ConfigError: The values of `of` are not known before it has run.

    Example:
        >>> from autoinit.fills import TensorSpec
        >>> from autoinit.initializers import Normal
        >>> half = Scaled(of=Normal(std=0.02), scale="1/2")
        >>> print(half, half.fill(TensorSpec(shape=(3,))), sep=": ")
        Normal(std=0.02) * 0.5: Normal(mean=0, std=0.01)
    """

    of: Initializer
    scale: float = number()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.of, Initializer):
            raise ConfigTypeError(f"Scaled: of={self.of!r} must be an initializer, not {type(self.of).__name__}.")
        if isinstance(self.of, Keep):
            raise ConfigError("'scale' has no effect on Keep. Remove it.")
        if isinstance(self.of, Function):
            raise ConfigError(f"'scale' cannot multiply what a function writes. Let {self.of} do it.")
        object.__setattr__(self, "reads", self.of.reads)

    def fill(self, spec: TensorSpec) -> Fill | None:
        given = self.of.fill(spec)
        if given is None or self.scale == 1:
            return given
        found = given.scaled(self.scale) if self.scale else fills.Constant(0.0)
        if any(_overflows(given, found, name) for name in ("value", "largest", "std")):
            raise ShapeError(f"{given} times {self.scale:g} is beyond float32, in which values are drawn.")
        return found

    def __str__(self) -> str:
        return f"{self.of} * {shown(self.scale)}"


def _overflows(given: Fill, found: Fill, name: str) -> bool:
    """Whether a number of a fill was finite in float32, and is not any more."""
    before, now = (abs(getattr(fill, name, 0.0)) for fill in (given, found))
    return math.isfinite(float32(before)) and not math.isfinite(float32(now))


def unscaled(scheme: Initializer) -> Initializer:
    """The initializer inside of factors."""
    while isinstance(scheme, Scaled):
        scheme = scheme.of
    return scheme


def with_default(scheme: Initializer, default: Initializer | None) -> Initializer | None:
    """A `Default`, perhaps with factors, with the initializer of the layer in its place.

    Raises:
        ShapeError: There is a factor, and only a method of the layer knows the default.
    """
    if not isinstance(scheme, Scaled):
        return default
    found = with_default(scheme.of, default)
    if found is None:
        raise ShapeError("'scale' cannot multiply what a method of the layer writes. Name an initializer instead.")
    return replace(scheme, of=found)
