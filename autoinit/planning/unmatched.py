"""Nothing unmatched stays silent: rules that select nothing, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import MatchError, nearest, warn
from ..globs import is_plain
from ..layers import class_name, is_known, is_layer, suggestion
from .matches import Match
from .planner import Planner
from .policy import Unmatched
from .tree import relative_name


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What the rules of one plan matched; holds classes and names, no modules.

    Args:
        model: Class name of the root.
        matches: The rules and overrides.
        census: How often each class occurs.
        param_names: How often each name of a parameter occurs.
    """

    model: str
    matches: tuple[Match, ...]
    census: Counter[type]
    param_names: Counter[str]


def tally(planner: Planner) -> Tally:
    """What the rules of a plan matched."""
    for match in planner.matches:
        match.hint = _hint(match, planner)
    return Tally(
        model=class_name(planner.root),
        matches=tuple(planner.matches),
        census=planner.census,
        param_names=planner.param_names,
    )


def _hint(match: Match, planner: Planner) -> str:
    if match.is_override or match.has_params or not match.rule.name:
        return ""
    if match.has_modules:
        return f" For all that is below it: {match.rule.name[0] + '.**'!r}."
    fqns = [relative_name(fqn, match.base) for fqn in planner.modules if fqn]
    found = next(filter(None, (nearest(name, fqns) for name in match.rule.name if is_plain(name))), "")
    top = list(dict.fromkeys(fqn.partition(".")[0] for fqn in fqns))
    return found or f" The model has: {', '.join(top[:8])}{', ...' if len(top) > 8 else ''}."


def check_unmatched(tallies: Sequence[Tally], unmatched: Unmatched) -> None:
    """Judge the rules of several plans together: a rule has to match in one of them.

    Raises:
        MatchError: a rule that can match nothing, unless the policy is milder.
    """
    if unmatched == "ignore" or not tallies:
        return
    models = " or ".join(dict.fromkeys(tally.model for tally in tallies))
    census: Counter[type] = Counter()
    names: Counter[str] = Counter()
    groups: dict[int, list[Match]] = {}
    for each in tallies:
        census.update(each.census)
        names.update(each.param_names)
        for match in each.matches:
            groups.setdefault(id(match.rule), []).append(match)
    for matches in groups.values():
        problem = _problem(matches, models, census, names)
        if problem is None:
            continue
        error, certain = problem
        fatal = certain and any(match.passed for match in matches)
        if unmatched == "error" or (unmatched == "auto" and fatal):
            raise error
        warn(str(error))


def _problem(
    matches: Sequence[Match], models: str, census: Counter[type], names: Counter[str]
) -> tuple[MatchError, bool] | None:
    """What is wrong with a rule, and whether it must be a mistake rather than a model without such a layer."""
    rule, missing = matches[0].rule, matches[0].missing
    if missing is not None and all(match.missing for match in matches):
        return missing, True
    typos = [layer for layer in rule.layer if not _present(layer, census) and not is_known(layer)]
    if typos:
        nearest_class = suggestion(typos, census)
        what = rule.describe() if len(rule.layer) == 1 else f"{rule.origin} (layer={typos[0]!r})"
        return MatchError(f"{what} matches no module of {models}.{nearest_class}", origin=rule.origin), True
    if not matches[0].is_override and not rule.selects_by_itself:
        return None
    if not any(match.has_modules for match in matches):
        certain = bool(rule.name) and all(_present(layer, census) for layer in rule.layer)
        remedy = matches[0].hint if certain else " The class exists; this model has none."
        return MatchError(f"{rule.describe()} matches no module of {models}.{remedy}", origin=rule.origin), certain
    if not any(match.has_params for match in matches):
        wanted = rule.params or ("weight", "bias")
        remedy = _nearest_param(rule.params, names) if rule.params else matches[0].hint
        text = (
            f"{rule.describe()} matches modules of {models} but none of their parameters ({', '.join(wanted)}).{remedy}"
        )
        return MatchError(text, origin=rule.origin), rule.params is not None
    return None


def _nearest_param(wanted: Sequence[str], names: Counter[str]) -> str:
    if any(param in names for param in wanted):
        return " Other layers of the model have it: remove layer= or name=."
    return next(filter(None, (nearest(param, names) for param in wanted)), "")


def _present(layer: str | type, census: Counter[type]) -> bool:
    return any(is_layer(cls, layer) for cls in census)
