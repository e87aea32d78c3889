"""What a user wants to hear of, and how fans are read where a rule does not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import ConfigError, ConfigTypeError, nearest
from ..globs import fqn_pattern
from ..sampling import VERSION

Unmatched = Literal["auto", "error", "warn", "ignore"]
"""What happens to a rule that selects nothing.

"auto": an error if it cannot be meant (a `layer` that no class has, a `name`, `params` or override target that the
model lacks) in a config that was passed; a warning if the class exists but this model has none, or if the config is
a module's own.
"""

Fan = Literal["auto", "layer", "torch"]
"""Whose reading of a weight's axes counts where a rule has no `fan`.

"auto": torch's for the schemes of OpenMMLab, the layer's for all others; "layer", "torch": that, for every scheme.
"""

OwnInitMode = Literal["auto", "run", "skip"]
"""Whether to call the `init_weights()` of modules that have one of their own.

"auto": in a block, unless it was called during construction; for an existing model, where OpenMMLab's protocol does;
"run": also if it was called before; "skip": never.
"""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The options that `autoinit`, `initialize` and `plan` have in common.

    Args:
        unmatched: what happens to a rule that selects nothing.
        fan: whose reading of axes counts where a rule does not say.
        own_init: Whether to call modules' own `init_weights()`.
        version: the definition of random values.
        require_coverage: whether a parameter that no rule covers is an error.
        allow_uncovered: globs over the FQNs of parameters that need not be covered.

    Raises:
        ConfigError, ConfigTypeError: a value is unknown.

    Example:
        >>> Policy(unmatched="loud")
        Traceback (most recent call last):
          ...
        autoinit.errors.ConfigError: unmatched='loud' is unknown. Known: auto, error, warn, ignore.
    """

    unmatched: Unmatched = "auto"
    fan: Fan = "auto"
    own_init: OwnInitMode = "auto"
    version: int = VERSION
    require_coverage: bool = False
    allow_uncovered: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check_choice("unmatched", self.unmatched, get_args(Unmatched))
        _check_choice("fan", self.fan, get_args(Fan))
        _check_choice("own_init", self.own_init, get_args(OwnInitMode))
        if self.version not in range(1, VERSION + 1) or isinstance(self.version, bool):
            raise ConfigError(
                f"version={self.version!r} is unknown. Known: {', '.join(map(str, range(1, VERSION + 1)))}."
            )
        if not isinstance(self.require_coverage, bool):
            raise ConfigTypeError(f"require_coverage={self.require_coverage!r} must be true or false.")
        patterns = (self.allow_uncovered,) if isinstance(self.allow_uncovered, str) else self.allow_uncovered
        if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
            raise ConfigTypeError(f"allow_uncovered={patterns!r} must be a list of names or globs.")
        if patterns and not self.require_coverage:
            raise ConfigError("allow_uncovered has no effect without require_coverage=True.")
        for pattern in patterns:
            fqn_pattern(pattern)
        object.__setattr__(self, "allow_uncovered", tuple(patterns))


def _check_choice(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"{name}={value!r} is unknown.{nearest(str(value), known)} Known: {', '.join(known)}.")
