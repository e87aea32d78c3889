"""An initializer times a factor."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import fills
from ..errors import ConfigError, ConfigTypeError, ShapeError
from ..fills import Fill, TensorSpec
from ..sampling.truncation import float32
from .basic import Keep
from .callables import Function
from .initializer import Initializer, number


@dataclass(frozen=True, kw_only=True)
class Scaled(Initializer):
    """What another initializer gives, times a factor: the key `scale` of a rule.

    Args:
        of: The other initializer.
        by: The factor.

    Raises:
        ConfigError: The values of `of` are not known before it has run.

    Example:
        >>> from autoinit.fills import TensorSpec
        >>> from autoinit.initializers import Normal
        >>> half = Scaled(of=Normal(std=0.02), by="1/2")
        >>> print(half, half.fill(TensorSpec(shape=(3,))), sep=": ")
        Normal(std=0.02) * 0.5: Normal(mean=0, std=0.01)
    """

    of: Initializer
    by: float = number()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.of, Initializer):
            raise ConfigTypeError(f"Scaled: of={self.of!r} must be an initializer, not {type(self.of).__name__}.")
        if isinstance(self.of, (Keep, Function)):
            remedy = "Remove it." if isinstance(self.of, Keep) else "Let the function multiply its values."
            raise ConfigError(f"'scale' has no effect on {self.of}. {remedy}")
        object.__setattr__(self, "reads", self.of.reads)

    def is_vector(self, shape: tuple[int, ...]) -> bool:
        return self.of.is_vector(shape)

    def fill(self, spec: TensorSpec) -> Fill | None:
        given = self.of.fill(spec)
        if given is None or self.by == 1:
            return given
        found = given.scaled(self.by) if self.by else fills.Constant(0.0)
        largest = getattr(found, "largest", 0.0)
        if not math.isfinite(float32(largest)) and math.isfinite(getattr(given, "largest", 0.0)):
            raise ShapeError(f"{given} times {self.by:g} is beyond float32, in which values are drawn.")
        return found

    def __str__(self) -> str:
        by = f"[{', '.join(map(str, self.by))}]" if isinstance(self.by, tuple) else self.by
        return f"{self.of} * {by}"
