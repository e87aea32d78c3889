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
    kept: list[tuple[Planner, Record]] = []
    for planner in planners:
        for record in planner.records:
            ranked = record.ranked()
            if not ranked:
                continue
            winner = ranked[-1]
            if len(ranked) > 1 and winner.rank.level == RULES and not winner.rank.override:
                _warn_of_lost_overrides(record, ranked, warned)
            if record.kept is not None:
                kept.append((planner, record))
                continue
            if record.alias_candidates:
                _warn_of_tie(planner, record, winner, warned)
            is_passed = winner.rank.level < OWN and abs(winner.rank.config) < planner.passed
            if record.own is not None and is_passed and planner.context.policy.own_init != "run":
                fqns, origins = own.setdefault(str(record.own), ([], []))
                fqns.append(record.fqn)
                origins.append(winner.rule.origin)
    for call, (fqns, origins) in own.items():
        warn(
            f"{call} runs after the rules and may overwrite what {first_of(origins)} gives to {first_of(fqns)}. Pass "
            'own_init="skip" to leave it out, or own_init="run" to run it without this warning.'
        )
    if kept and unmatched != "ignore":
        _warn_of_kept(planners, kept)


def _warn_of_kept(planners: Sequence[Planner], kept: Sequence[tuple[Planner, Record]]) -> None:
    """Warn of rules that match only tensors which hold data, and which they would fill with `overwrite=True`."""
    found: dict[int, tuple[Rule, list[str], str]] = {}
    data: set[int] = set()
    for planner, record in kept:
        ranked, why = record.ranked(), record.kept or ""
        if ranked[-1].rule.overwrite or not may_overwrite(why) or id(record.param) in planner.context.filled_within:
            continue
        data.add(id(record))
        for rank, rule, _ in ranked:
            if not loads_rule(rule) and abs(rank.config) < planner.passed:
                found.setdefault(id(rule), (rule, [], why))[1].append(record.fqn)
    for record in (record for planner in planners for record in planner.records if found and id(record) not in data):
        for candidate in record.ranked():
            found.pop(id(candidate.rule), None)
    for rule, fqns, why in found.values():
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
    for name, candidate in (*record.alias_candidates, *((record.fqn, each) for each in record.candidates)):
        by_name.setdefault(name, []).append(candidate)
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
