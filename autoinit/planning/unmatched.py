"""Rules that match nothing, and parameters that no rule covers: an error, a warning or nothing, by the policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import CoverageError, MatchError, nearest, warn
from ..globs import fqn_pattern, is_plain
from ..layers import class_name, is_known, is_layer, suggestion
from ..rules import UNSET
from .matches import Match
from .planner import Planner
from .plans import Plan
from .policy import Policy, Unmatched
from .tree import relative_name

SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class RuleMatches:
    """What the rules of one plan matched, and how often each class and name of a parameter occurs; no modules."""

    model: str
    matches: Sequence[Match]
    classes: Counter[type]
    param_names: Counter[str]


def rule_matches(planner: Planner) -> RuleMatches:
    """What the rules of a plan matched."""
    for match in planner.matches:
        is_by_name = match.rule.name or match.rule.within or match.rule.has_full_params
        if is_by_name and not match.rank.override and not match.has_params:
            match.hint = _hint(match, planner)
    return RuleMatches(
        model=class_name(planner.root),
        matches=planner.matches,
        classes=planner.classes,
        param_names=planner.param_names,
    )


def _hint(match: Match, planner: Planner) -> str:
    if match.has_modules and match.rule.name and not match.rule.has_full_params:
        return f" For all that is below it: {match.rule.name[0] + '.**'!r}."
    fqns = [relative_name(fqn, match.base) for fqn in planner.modules if fqn]
    params = [relative_name(record.fqn, match.base) for record in planner.records]
    if match.has_modules:
        return next(filter(None, (nearest(pattern, params) for pattern in match.rule.params or ())), "") or (
            " A pattern with dots, or a regular expression, is one over full names, such as "
            f"{params[0] if params else 'head.weight'!r}."
        )
    if any(fqn_pattern(pattern)(name) for pattern in match.rule.name for name in (*fqns, *params)):
        return " What has such a name is of another class, or elsewhere."
    if not match.rule.name:
        return " The model has such layers, but none there."
    found = (nearest(name, names) for name in match.rule.name if is_plain(name) for names in (fqns, params))
    top = list(dict.fromkeys(fqn.partition(".")[0] for fqn in fqns))
    return next(filter(None, found), "") or f" The model has: {', '.join(top[:8])}{', ...' if len(top) > 8 else ''}."


def check_unmatched(plans: Sequence[RuleMatches], unmatched: Unmatched) -> None:
    """Raise or warn of each rule that matches nothing in any of several plans.

    Raises:
        MatchError: A rule can match nothing, unless the policy is milder.
    """
    if unmatched == "ignore" or not plans:
        return
    models: dict[str, None] = {}
    classes: Counter[type] = Counter()
    names: Counter[str] = Counter()
    groups: dict[int, list[Match]] = {}
    for each in plans:
        models[each.model] = None
        classes.update(each.classes)
        names.update(each.param_names)
        for match in each.matches:
            groups.setdefault(id(match.rule), []).append(match)
    for matches in groups.values():
        error, certain = _problem(matches, " or ".join(models), classes, names)
        if error is None:
            continue
        if unmatched == "error" or (unmatched == "auto" and certain and any(match.passed for match in matches)):
            raise error
        warn(str(error))


def _problem(
    matches: Sequence[Match], models: str, classes: Counter[type], names: Counter[str]
) -> tuple[MatchError | None, bool]:
    """The error for a rule, and whether it must be a mistake rather than a model without such a layer."""
    rule, missing, hint = matches[0].rule, matches[0].missing, matches[0].hint
    if missing is not None and all(match.missing for match in matches):
        return missing, True
    absent = {
        key: [layer for layer in layers if not any(is_layer(cls, layer) for cls in classes)]
        for key, layers in (("layer", rule.layer), ("within", rule.within))
    }
    for key, layers in absent.items():
        typos = [layer for layer in layers if not is_known(layer)]
        if typos:
            is_only = len(getattr(rule, key)) == 1
            what = rule.describe() if is_only else f"{rule.origin} ({key}={typos[0]!r})"
            text = f"{what} matches no module of {models}.{suggestion(typos, classes)}"
            return MatchError(text, origin=rule.origin), True
    if not matches[0].rank.override and not rule.selects_by_itself:
        return None, False
    if not any(match.has_params for match in matches) and any(match.other_ndims for match in matches):
        *some, last = sorted(set().union(*(match.other_ndims for match in matches)))
        ndims = f"{', '.join(map(str, some))} or {last}" if some else str(last)
        text = f"{rule.describe()} matches no parameter of {models}: what the other keys select has {ndims} dimensions."
        return MatchError(text, origin=rule.origin), False
    if not any(match.has_modules for match in matches):
        is_absent = any(absent.values())
        certain = bool(rule.name) and not is_absent
        remedy = " The class exists; this model has none." if is_absent or not hint else hint
        return MatchError(f"{rule.describe()} matches no module of {models}.{remedy}", origin=rule.origin), certain
    if any(match.has_params for match in matches):
        if rule.bias in (UNSET, None) or any(match.globs or not match.named or match.gives_bias for match in matches):
            return None, False
        text = (
            f"{rule.describe()}: bias={rule.bias} has no effect, because name= has names of parameters, which get the "
            "initializer. Write the names of modules, or a rule for the bias."
        )
        return MatchError(text, origin=rule.origin), False
    wanted = rule.params or ("weight", "bias")
    if rule.has_full_params:
        hint = matches[0].hint
    elif rule.params and any(param in names for param in wanted):
        hint = " Other layers of the model have it: remove layer= or name=."
    elif rule.params:
        hint = next(filter(None, (nearest(param, names) for param in wanted)), "")
    text = f"{rule.describe()} matches modules of {models} but none of their parameters ({', '.join(wanted)}).{hint}"
    return MatchError(text, origin=rule.origin), rule.params is not None


def check_coverage(plans: Sequence[Plan], policy: Policy) -> None:
    """Require that rules cover every parameter of some models, if the policy asks for it.

    Raises:
        CoverageError: Some are not covered; it has their names.
        MatchError: An exception that is not a parameter's name.
    """
    if not policy.require_coverage or not plans:
        return
    names = [fqn for plan in plans for fqn in plan]
    for pattern in policy.allow_uncovered:
        if not any(map(fqn_pattern(pattern), names)):
            models = " or ".join(dict.fromkeys(plan.model for plan in plans))
            raise MatchError(
                f"allow_uncovered: {pattern!r} is no parameter of {models}.{nearest(pattern, names)}",
                origin="allow_uncovered",
            )
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
