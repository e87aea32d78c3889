"""Rules that match nothing, and parameters that no rule covers: an error, a warning or nothing, by the policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import CoverageError, MatchError, nearest, warn
from ..globs import fqn_pattern, is_plain, param_pattern
from ..initializers import Initializer
from ..layers import class_name, is_known, is_layer, suggestion
from ..rules import UNSET
from .matches import Match
from .name_hints import Fitting, is_typo, moved_hint, name_hint
from .planner import Planner
from .plans import Plan
from .policy import Policy, Unmatched
from .tree import Node, joined, relative_name

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
        if match.rank.override:
            match.is_empty = not match.has_params and _is_empty(match, planner)
        elif is_by_name and not match.has_params:
            match.hint = _hint(match, planner)
        elif len(match.rule.name) > 1:
            _find_lost(match, planner)
        if _fills_only_biases(match):
            match.hint = _other_params(match, planner)
    return RuleMatches(
        model=class_name(planner.root),
        matches=planner.matches,
        classes=planner.classes,
        param_names=planner.param_names,
    )


def _hint(match: Match, planner: Planner) -> str:
    """The hint for a rule with `name` or `params` that fills no parameter."""
    fqns, fitting = _names_below(match, planner)
    params = [relative_name(record.fqn, match.base) for record in planner.records]
    if match.has_modules and (match.rule.has_full_params or not match.rule.name):
        return next(filter(None, (nearest(pattern, params) for pattern in match.rule.params or ())), "") or (
            " A pattern with dots, or a regular expression, is one over full names, such as "
            f"{params[0] if params else 'head.weight'!r}."
        )
    if not match.rule.name:
        return " The model has such layers, but none there."
    if match.has_modules:
        globs = (f"{name}.**" for name in match.rule.name if not name.startswith("re:"))
        below = next(filter(fitting, globs), None)
        return f" For all that is below it: {below!r}." if below else ""
    for name in match.rule.name:
        found = [fqn for fqn in fqns if fqn_pattern(name)(fqn)]
        if found:
            module = planner.modules[joined(match.base, found[0])]
            return f" {found[0]} is of class {class_name(module)}."
    hint = next(filter(None, (name_hint(name, fqns, fitting) for name in match.rule.name)), "")
    if not hint and any(fqn_pattern(name)(param) for name in match.rule.name for param in params):
        return " What has such a name is of another class, or elsewhere."
    hint = hint or next(filter(None, (nearest(name, params) for name in match.rule.name if is_plain(name))), "")
    top = list(dict.fromkeys(fqn.partition(".")[0] for fqn in fqns))
    return hint or f" The model has: {', '.join(top[:8])}{', ...' if len(top) > 8 else ''}."


def _find_lost(match: Match, planner: Planner) -> None:
    """Note the globs in a list of names that match no module."""
    fqns, fitting = _names_below(match, planner)
    names = match.rule.name
    known = [*fqns, "", *(relative_name(record.fqn, match.base) for record in planner.records)]
    lost = [name for name in names if not any(map(fqn_pattern(name), known))]
    listed = [fqn for fqn in fqns if any(fqn_pattern(name)(fqn) for name in names)] if lost else []
    for name in lost:
        moved = moved_hint(name, fqns, fitting)
        certain = bool(moved) or (is_plain(name) and is_typo(name, fqns, listed))
        match.lost = {**match.lost, name: certain or (False if is_plain(name) else None)}
        match.hint = match.hint or moved or (nearest(name, fqns) if certain else "")


def _names_below(match: Match, planner: Planner) -> tuple[Sequence[str], Fitting]:
    """The FQNs below the module that carries a rule, and those of modules whose parameters it fills under a name."""
    inside = f"{match.base}." if match.base else ""
    found = {
        relative_name(fqn, match.base): module
        for fqn, module in planner.modules.items()
        if fqn.startswith(inside) and fqn != match.base
    }

    def fitting(glob: str) -> Sequence[str]:
        scheme_for, fits = match.rule.scheme_for, fqn_pattern(glob)
        return [
            fqn
            for fqn, module in found.items()
            if fits(fqn)
            and match.selects_class(type(module))
            and any(scheme_for(name) for name, param in module._parameters.items() if param is not None)
        ]

    return list(found), fitting


def _is_empty(match: Match, planner: Planner) -> bool:
    """Whether an override has targets, and these have no parameters."""
    targets = [module for module in planner.modules.values() if id(module) in (match.targets or ())]
    return bool(targets) and not any(param is not None for each in targets for param in each._parameters.values())


def _fills_only_biases(match: Match) -> bool:
    """Whether a rule for a weight and its bias has found biases alone."""
    rule = match.rule
    is_meant = rule.params is not None or rule.bias is not UNSET or not isinstance(rule.initializer, Initializer)
    return match.has_params and not match.uses_initializer and match.passed and not is_meant


def _other_params(match: Match, planner: Planner) -> str:
    """The parameters of the first module with only a bias that a rule fills."""
    for fqn, module in planner.modules.items():
        if match.selects_class(type(module)) and match.selects_node(Node(fqn, module, 0)):
            names = [name for name, param in module._parameters.items() if param is not None]
            if "bias" in names:
                return f" {class_name(module)} has: {', '.join(names)}."
    return ""


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
        if unmatched == "warn" or certain is not None:
            warn(str(error))


def _problem(
    matches: Sequence[Match], models: str, classes: Counter[type], names: Counter[str]
) -> tuple[MatchError | None, bool | None]:
    """The error for a rule, and whether it must be a mistake rather than a model without such a layer.

    None instead of False if it is so common that only `unmatched="warn"` and "error" report it.
    """
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
        if rule.bias not in (UNSET, None) and not any(
            match.globs or not match.named or match.gives_bias for match in matches
        ):
            text = (
                f"{rule.describe()}: bias={rule.bias} has no effect, because name= has names of parameters, which get "
                "the initializer. Write the names of modules, or a rule for the bias."
            )
            return MatchError(text, origin=rule.origin), False
        return _partial_problem(matches, models, names)
    if all(match.is_empty for match in matches):
        return None, False
    wanted = rule.params or ("weight", "bias")
    if rule.has_full_params:
        hint = matches[0].hint
    elif rule.params and any(param in names for param in wanted):
        hint = " Other layers of the model have it: remove layer= or name=."
    elif rule.params:
        hint = next(filter(None, (nearest(param, names) for param in wanted)), "")
    text = f"{rule.describe()} matches modules of {models} but none of their parameters ({', '.join(wanted)}).{hint}"
    return MatchError(text, origin=rule.origin), rule.params is not None


def _partial_problem(
    matches: Sequence[Match], models: str, names: Counter[str]
) -> tuple[MatchError | None, bool | None]:
    """The error for a rule that fills something: a part of a list that matches nothing, or nothing but biases."""
    rule, first = matches[0].rule, matches[0]
    for name, certain in first.lost.items():
        if all(name in match.lost for match in matches):
            text = f"{rule.origin} (name={name!r}) matches no module of {models}.{first.hint}"
            return MatchError(text, origin=rule.origin), certain
    params = rule.params or ()
    lost = [param for param in params if not any(map(param_pattern(param), names))] if len(params) > 1 else []
    if lost:
        listed = [name for name in names if any(param_pattern(param)(name) for param in params)]
        typos = [param for param in lost if is_plain(param) and is_typo(param, names, listed)]
        param = (typos or lost)[0]
        hint = nearest(param, names) if typos else ""
        text = f"{rule.origin} (params={param!r}) matches no parameter of {models}.{hint}"
        return MatchError(text, origin=rule.origin), True if typos else None
    if all(map(_fills_only_biases, filter(_has_params, matches))):
        text = (
            f"{rule.describe()} gives {rule.initializer} to nothing: what it matches in {models} has a bias and no "
            f"'weight'.{first.hint} Name the parameters with params=, or write bias=0 if only the bias is meant."
        )
        return MatchError(text, origin=rule.origin), False
    return None, False


def _has_params(match: Match) -> bool:
    return match.has_params


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
