"""Which parameters no rule covers, and what to do about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..errors import CoverageError, MatchError, nearest
from ..globs import fqn_pattern
from .plans import Plan
from .policy import Policy

SHOWN = 10


def check_coverage(plans: Sequence[Plan], policy: Policy) -> None:
    """Require that rules cover every parameter of some models, if the policy asks for it.

    Raises:
        CoverageError: with the names of those that are not covered.
        MatchError: an exception that is no parameter's name.
    """
    if not policy.require_coverage or not plans:
        return
    _check_exceptions(plans, policy.allow_uncovered)
    allowed = [fqn_pattern(pattern) for pattern in policy.allow_uncovered]
    found = [(plan, fqn) for plan in plans for fqn in plan.uncovered if not any(allow(fqn) for allow in allowed)]
    if not found:
        return
    models = " and ".join(dict.fromkeys(plan.model for plan, _ in found))
    fqns = [fqn for _, fqn in found]
    shown = ", ".join(fqns[:SHOWN]) + (", ..." if len(fqns) > SHOWN else "")
    layers = Counter(plan[fqn].layer for plan, fqn in found)
    by_layer = ", ".join(f"{count} of {layer}" for layer, count in layers.most_common())
    raise CoverageError(
        f"{models}: no rule covers {len(fqns)} parameters: {shown} ({by_layer}). Add rules for them, of type "
        "'Keep' for what should stay as it is, or name them in allow_uncovered=.",
        fqn=fqns[0],
    )


def _check_exceptions(plans: Sequence[Plan], patterns: Iterable[str]) -> None:
    names = [fqn for plan in plans for fqn in plan]
    for pattern in patterns:
        if not any(map(fqn_pattern(pattern), names)):
            models = " or ".join(dict.fromkeys(plan.model for plan in plans))
            raise MatchError(
                f"allow_uncovered: {pattern!r} is no parameter of {models}.{nearest(pattern, names)}",
                origin="allow_uncovered",
            )
