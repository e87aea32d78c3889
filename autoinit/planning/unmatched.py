"""Rules that match nothing, and parameters that no rule covers: an error, a warning or nothing, by the policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import CoverageError, MatchError, TargetError, nearest, warn
from ..globs import fqn_pattern, is_plain, param_pattern
from ..layers import class_name, is_known, is_layer, suggestion
from ..rules import DEFAULT_PARAMS, UNSET
from .matches import Match
from .name_hints import is_typo, moved_hint, name_hint
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
        if match.has_params and not match.uses_initializer and match.is_for_weights:
            match.hint = _other_params(match, planner)
    return RuleMatches(
        model=class_name(planner.root),
        matches=planner.matches,
        classes=planner.classes,
        param_names=planner.param_names,
    )


def _hint(match: Match, planner: Planner) -> str:
    """The hint for a rule with `name` or `params` that fills no parameter."""
    rule = match.rule
    fqns, useful = _names_below(match, planner)
    params = [relative_name(record.fqn, match.base) for record in planner.records]
    if match.has_modules and (rule.has_full_params or not rule.name):
        example = params[0] if params else "head.weight"
        pattern = f" A pattern with dots, or a regular expression, is one over full names, such as {example!r}."
        return _nearest(rule.params or (), params) or pattern
    if not rule.name:
        return " The model has such layers, but none there."
    if match.has_modules:
        globs = (f"{name}.**" for name in rule.name if not name.startswith("re:"))
        below = next((glob for glob in globs if any(map(fqn_pattern(glob), useful))), None)
        return f" For all that is below it: {below!r}." if below else ""
    other = next((fqn for name in rule.name for fqn in filter(fqn_pattern(name), fqns)), None)
    if other is not None:
        return f" {other} is of class {class_name(planner.modules[joined(match.base, other)])}."
    hint = next(filter(None, (name_hint(name, fqns, useful) for name in rule.name)), "")
    if not hint and any(fqn_pattern(name)(param) for name in rule.name for param in params):
        return " What has such a name is of another class, or elsewhere."
    return hint or _nearest(filter(is_plain, rule.name), params) or _listed(fqns, params)


def _listed(fqns: Sequence[str], params: Sequence[str]) -> str:
    """The children of the model, or without any its parameters, for a message."""
    top = list(dict.fromkeys(fqn.partition(".")[0] for fqn in fqns)) or params
    if not top:
        return " The model has no modules inside it, and no parameters."
    return f" The model has: {', '.join(top[:8])}{', ...' if len(top) > 8 else ''}."


def _find_lost(match: Match, planner: Planner) -> None:
    """Note the globs in a list of names that match no module."""
    fqns, useful = _names_below(match, planner)
    names = match.rule.name
    known = [*fqns, "", *(relative_name(record.fqn, match.base) for record in planner.records)]
    lost = [name for name in names if not any(map(fqn_pattern(name), known))]
    listed = [fqn for fqn in fqns if any(fqn_pattern(name)(fqn) for name in names)] if lost else []
    for name in lost:
        moved = moved_hint(name, fqns, useful)
        certain = bool(moved) or (is_plain(name) and is_typo(name, fqns, listed))
        match.lost = {**match.lost, name: certain or (False if is_plain(name) else None)}
        match.hint = match.hint or moved or (nearest(name, fqns) if certain else "")


def _names_below(match: Match, planner: Planner) -> tuple[Sequence[str], Sequence[str]]:
    """The FQNs below the module that carries a rule, and those of modules whose parameters it fills under a name."""
    inside = f"{match.base}." if match.base else ""
    found = {fqn.removeprefix(inside): each for fqn, each in planner.modules.items() if fqn.startswith(inside) and fqn}
    fills = match.rule.scheme_for
    useful = [
        fqn
        for fqn, module in found.items()
        if match.selects_class(type(module))
        and any(param is not None and fills(name) for name, param in module._parameters.items())
    ]
    return list(found), useful


def _is_empty(match: Match, planner: Planner) -> bool:
    """Whether an override has targets, and these have no parameters."""
    targets = [module for module in planner.modules.values() if id(module) in (match.targets or ())]
    return bool(targets) and not any(param is not None for each in targets for param in each._parameters.values())


def _other_params(match: Match, planner: Planner) -> str:
    """The parameters of the first module with only a bias that a rule fills."""
    for fqn, module in planner.modules.items():
        if match.selects_class(type(module)) and match.selects_node(Node(fqn, module, 0)):
            names = [name for name, param in module._parameters.items() if param is not None]
            if "bias" in names:
                return f" {class_name(module)} has: {', '.join(names)}."
    return ""


def check_unmatched(plans: Sequence[RuleMatches], unmatched: Unmatched) -> None:
    """Warn of each rule that matches nothing in any of several plans, or raise a MatchError, by the policy."""
    if unmatched == "ignore" or not plans:
        return
    classes: Counter[type] = Counter()
    names: Counter[str] = Counter()
    groups: dict[int, list[Match]] = {}
    for each in plans:
        classes.update(each.classes)
        names.update(each.param_names)
        for match in each.matches:
            groups.setdefault(id(match.rule), []).append(match)
    model = " or ".join(dict.fromkeys(each.model for each in plans))
    for matches in groups.values():
        found = _problem(matches, model, classes, names)
        if found is None:
            continue
        problem, certain = found
        error = MatchError(problem, origin=matches[0].rule.origin) if isinstance(problem, str) else problem
        if unmatched == "error" or (unmatched == "auto" and certain and any(match.passed for match in matches)):
            raise error
        if unmatched == "warn" or certain is not None:
            warn(str(error))


def _problem(
    matches: Sequence[Match], model: str, classes: Counter[type], names: Counter[str]
) -> tuple[str | TargetError, bool | None] | None:
    """The message or error for a rule, and whether it must be a mistake rather than a model without such a layer.

    None instead of False if it is so common that only `unmatched="warn"` and "error" report it.
    """
    first, rule = matches[0], matches[0].rule
    if first.missing is not None and all(match.missing for match in matches):
        return first.missing, True
    absent = [key for key in ("layer", "within") if _absent(getattr(rule, key), classes)]
    for key in absent:
        layers = getattr(rule, key)
        typos = [layer for layer in _absent(layers, classes) if not is_known(layer)]
        if typos:
            what = rule.describe() if len(layers) == 1 else f"{rule.origin} ({key}={typos[0]!r})"
            return f"{what} matches no module of {model}.{suggestion(typos, classes)}", True
    if not first.rank.override and not rule.selects_by_itself:
        return None
    if any(match.has_params for match in matches):
        return _partial_problem(matches, model, names)
    if any(match.other_ndims for match in matches):
        *some, last = sorted(set().union(*(match.other_ndims for match in matches)))
        ndims = f"{', '.join(map(str, some))} or {last}" if some else str(last)
        text = f"{rule.describe()} matches no parameter of {model}: what the other keys select has {ndims} dimensions."
        return text, False
    if not any(match.has_modules for match in matches):
        remedy = " The class exists; this model has none." if absent or not first.hint else first.hint
        return f"{rule.describe()} matches no module of {model}.{remedy}", bool(rule.name) and not absent
    if all(match.is_empty for match in matches):
        return None
    wanted, hint = rule.params or DEFAULT_PARAMS, first.hint
    if rule.params and not rule.has_full_params:
        elsewhere = " Other layers of the model have it: remove layer= or name=."
        hint = elsewhere if any(param in names for param in wanted) else _nearest(wanted, names)
    text = f"{rule.describe()} matches modules of {model} but none of their parameters ({', '.join(wanted)}).{hint}"
    return text, rule.params is not None


def _partial_problem(matches: Sequence[Match], model: str, names: Counter[str]) -> tuple[str, bool | None] | None:
    """The message for a rule that fills something: a part of a list that matches nothing, or nothing but biases."""
    first, rule = matches[0], matches[0].rule
    if rule.bias not in (UNSET, None) and not any(
        match.globs or not match.named or match.gives_bias for match in matches
    ):
        return (
            f"{rule.describe()}: bias={rule.bias} has no effect, because name= has names of parameters, which get "
            "the initializer. Write the names of modules, or a rule for the bias."
        ), False
    for name, certain in first.lost.items():
        if all(name in match.lost for match in matches):
            return f"{rule.origin} (name={name!r}) matches no module of {model}.{first.hint}", certain
    params = rule.params or ()
    lost = [param for param in params if not any(map(param_pattern(param), names))] if len(params) > 1 else []
    if lost:
        listed = [name for name in names if any(param_pattern(param)(name) for param in params)]
        typos = [param for param in lost if is_plain(param) and is_typo(param, names, listed)]
        hint = nearest(typos[0], names) if typos else ""
        text = f"{rule.origin} (params={(typos or lost)[0]!r}) matches no parameter of {model}.{hint}"
        return text, True if typos else None
    if not any(match.uses_initializer for match in matches) and first.is_for_weights:
        return (
            f"{rule.describe()} gives {rule.initializer} to nothing: what it matches in {model} has a bias and no "
            f"'weight'.{first.hint} Name the parameters with params=, or write bias=0 if only the bias is meant."
        ), False
    return None


def _absent(layers: Iterable[str | type], classes: Iterable[type]) -> list[str | type]:
    """The classes in a rule that no module of the models has."""
    return [layer for layer in layers if not any(is_layer(cls, layer) for cls in classes)]


def _nearest(wanted: Iterable[str], known: Iterable[str]) -> str:
    """The first hint that there is for one of several names."""
    known = list(known)
    return next(filter(None, (nearest(each, known) for each in wanted)), "")


def check_coverage(plans: Sequence[Plan], policy: Policy) -> None:
    """Raise a CoverageError with the parameters of some models that no rule covers, if the policy asks for it."""
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
