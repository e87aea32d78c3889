"""How large and how small a signal may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
        """Whether a module or parameter, or something that it is part of, is held to nothing."""
        parts = fqn.split(".")
        above = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
        return any(fqn_pattern(pattern)(name) for pattern in self.ignore for name in above)


def _range(name: str, value: object) -> Range:
    label = f"Bounds.{name}={value!r}"
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ConfigTypeError(f"{label} must be a pair: the smallest and the largest.", origin=f"Bounds.{name}")
    low, high = (real(end, label) for end in value)
    if not 0 <= low < high:
        raise ConfigError(f"{label} holds nothing: it must be 0 <= smallest < largest.", origin=f"Bounds.{name}")
    return low, high


DEFAULT = Bounds()
