"""Warnings of configs that are valid, by the order of precedence, and usually a mistake."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import AutoInitError, warn
from ..fills import Fill
from ..initializers import Initializer
from ..rules import Rule
from .matches import OWN, RULES, Candidate, loads_rule
from .planner import Planner
from .policy import Unmatched, may_overwrite
from .records import Record, rank_of

SHOWN = 3


def warn_of_conflicts(planners: Sequence[Planner], unmatched: Unmatched = "auto") -> None:
    """Warn of overrides that lose to a later rule, ties that two rules match, and rules that have no effect.

    Args:
        planners: Planners of one block, after planning.
        unmatched: "ignore" leaves out rules that match only what they may not fill.
    """
    warned: set[tuple[str, str]] = set()
    own: dict[str, tuple[list[str], list[str]]] = {}
    kept: dict[int, tuple[Rule, list[str], str]] = {}
    others: set[int] = set()
    for planner in planners:
        context = planner.context
        for record in planner.records:
            ranked = record.ranked()
            if not ranked:
                continue
            winner = ranked[-1]
            if len(ranked) > 1 and winner.rank.level == RULES and not winner.rank.override:
                _warn_of_lost_overrides(record, ranked, warned)
            if record.alias_candidates and record.kept is None:
                _warn_of_tie(planner, record, winner, warned)
            may_lose = record.own is not None and record.kept is None and winner.rank.level < OWN
            if may_lose and abs(winner.rank.config) < planner.passed and context.policy.own_init != "run":
                fqns, origins = own.setdefault(str(record.own), ([], []))
                fqns.append(record.fqn)
                origins.append(winner.rule.origin)
            # Kept, if only `overwrite=True` on the winner is missing.
            why = record.kept if id(record.param) not in context.filled_within and not winner.rule.overwrite else None
            for rank, rule, _ in ranked:
                if why is None or not may_overwrite(why):
                    others.add(id(rule))
                elif not loads_rule(rule) and abs(rank.config) < planner.passed:
                    kept.setdefault(id(rule), (rule, [], why))[1].append(record.fqn)
    for call, (fqns, origins) in own.items():
        warn(
            f"{call} runs after the rules and may overwrite what {first_of(origins)} gives to {first_of(fqns)}. Pass "
            'own_init="skip" to leave it out, or own_init="run" to run it without this warning.'
        )
    for key, (rule, fqns, why) in kept.items():
        if key not in others and unmatched != "ignore":
            warn(
                f"{rule.describe()} fills nothing: all that it matches ({first_of(fqns)}) is kept as it is: {why}. "
                "Add overwrite=True to the rule if it should be filled."
            )


def _warn_of_lost_overrides(record: Record, ranked: Sequence[Candidate], warned: set[tuple[str, str]]) -> None:
    *losers, winner = ranked
    for loser in losers:
        pair = (loser.rule.origin, winner.rule.origin)
        if loser.rank.override and loser.rank[:2] == winner.rank[:2] and pair not in warned:
            warned.add(pair)
            warn(
                f"{pair[0]} loses {record.fqn} to {pair[1]}, which comes later. Move {pair[1]} up if the override "
                "should win."
            )


def _warn_of_tie(planner: Planner, record: Record, winner: Candidate, warned: set[tuple[str, str]]) -> None:
    """By each of its names a tied parameter has a winner of its own; if these differ, a rule has no effect."""
    by_name: dict[str, list[Candidate]] = {}
    for name, candidate in record.alias_candidates:
        by_name.setdefault(name, []).append(candidate)
    if record.candidates:
        by_name[record.fqn] = list(record.candidates)
    for name, candidates in by_name.items():
        best = max(candidates, key=rank_of)
        pair = (best.rule.origin, winner.rule.origin)
        if best.rule is winner.rule or loads_rule(winner.rule) or pair in warned:
            continue
        given, gets = _fill(planner, best, record), _fill(planner, winner, record)
        if given != gets:
            warned.add(pair)
            names = " and ".join(dict.fromkeys([record.fqn, *record.aliases]))
            warn(
                f"{names} are one parameter: {pair[0]} gives {given} to {name}, and {pair[1]} {gets}. The latter wins. "
                "Narrow one of the two rules with name=."
            )


def _fill(planner: Planner, candidate: Candidate, record: Record) -> Fill | Initializer | None:
    shape, dtype = record.shape_and_dtype()
    if shape is None:
        return candidate.initializer
    try:
        return planner.resolver.resolve(candidate, record, shape, dtype).fill
    except AutoInitError:  # It has lost, so that it need not be defined for this shape.
        return candidate.initializer


def first_of(names: Iterable[str]) -> str:
    """The first of some names, for a message."""
    found = list(dict.fromkeys(names))
    return ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
