"""Parameters of which an assertion does not hold, by globs over their FQNs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..errors import ConfigTypeError, MatchError, nearest
from ..globs import fqn_pattern


@dataclass(frozen=True, kw_only=True)
class Exemptions:
    """The parameters that globs fit.

    Args:
        argument: what the user calls them.
        patterns: globs.

    Example:
        >>> exempt = Exemptions.of(["norm*.*"], "ignore")
        >>> (
        ...     "norm1.weight" in exempt,
        ...     "fc.weight" in exempt,
        ...     "fc.weight" in Exemptions.of(True, "ignore"),
        ... )
        (True, False, True)
    """

    argument: str
    patterns: tuple[str, ...]

    @classmethod
    def of(cls, written: object, argument: str) -> Exemptions:
        """From a glob or a list of globs; or True for all parameters, False for none.

        Raises:
            ConfigTypeError: anything else.
            ConfigError: a regular expression that does not compile.
        """
        if isinstance(written, bool):
            return cls(argument=argument, patterns=("**",) if written else ())
        patterns = (written,) if isinstance(written, str) else written
        if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
            raise ConfigTypeError(f"{argument}={written!r} must be a list of names or globs.")
        for pattern in patterns:
            fqn_pattern(pattern)
        return cls(argument=argument, patterns=tuple(patterns))

    def __contains__(self, fqn: object) -> bool:
        return any(fqn_pattern(pattern)(str(fqn)) for pattern in self.patterns)

    def check(self, fqns: Collection[str], model: str) -> None:
        """Require that each glob fits one of some names, so that the list stays true.

        Raises:
            MatchError: one fits none.
        """
        for pattern in self.patterns:
            if fqns and not any(map(fqn_pattern(pattern), fqns)):
                raise MatchError(
                    f"{self.argument}: {pattern!r} is no parameter of {model}.{nearest(pattern, fqns)}",
                    origin=self.argument,
                )
