"""What has a meaning, by the order of precedence, and is rarely meant: told as warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ..errors import AutoInitError, warn
from ..fills import Fill
from ..initializers import Initializer
from ..rules import Rule
from .binding import OWN, Source
from .claims import Claim, may_overwrite
from .loads import loads_rule
from .planner import Planner
from .policy import Unmatched
from .records import Record

SHOWN = 3


def warn_of_conflicts(planners: Sequence[Planner], unmatched: Unmatched = "auto") -> None:
    """Warn of overrides that a later rule wipes out, of ties that two rules claim, of rules that have no effect.

    Args:
        planners: those of one block, when they have planned.
        unmatched: "ignore" leaves rules alone that select nothing which they may fill.
    """
    told: set[tuple[str, str]] = set()
    for planner in planners:
        _warn_of_wiped_overrides(planner, told)
        for record in planner.records:
            if record.alias_claims and record.kept is None:
                _warn_of_tie(planner, record, told)
    _warn_of_own(planners)
    if unmatched != "ignore":
        _warn_of_kept(planners)


def _warn_of_wiped_overrides(planner: Planner, told: set[tuple[str, str]]) -> None:
    overrides = {id(bound.rule) for bound in planner.bounds if bound.is_override}
    if not overrides:
        return
    sources: dict[int, Source] = {id(bound.rule): bound.source for bound in planner.bounds}
    for record in planner.records:
        if len(record.claims) < 2:
            continue
        *losers, winner = sorted(record.claims, key=lambda claim: claim.rank)
        if id(winner.rule) in overrides or loads_rule(winner.rule):
            continue
        for loser in losers:
            wiped = id(loser.rule) in overrides and sources[id(loser.rule)] is sources[id(winner.rule)]
            pair = (loser.rule.origin, winner.rule.origin)
            if wiped and pair not in told:
                told.add(pair)
                warn(
                    f"{pair[0]} loses {record.fqn} to {pair[1]}, which comes later. Move {pair[1]} up if the override "
                    "should win."
                )


def _warn_of_tie(planner: Planner, record: Record, told: set[tuple[str, str]]) -> None:
    """By each of its names a tied parameter has a winner of its own; if these differ, a rule is not heeded."""
    winner = max(record.claims, key=lambda claim: claim.rank)
    for name, claim in _winners_by_name(record):
        pair = (claim.rule.origin, winner.rule.origin)
        if claim.rule is winner.rule or loads_rule(winner.rule) or pair in told:
            continue
        given, gets = _fill(planner, claim, record), _fill(planner, winner, record)
        if given != gets:
            told.add(pair)
            names = " and ".join(dict.fromkeys([record.fqn, *record.aliases]))
            warn(
                f"{names} are one parameter: {pair[0]} gives {given} to {name}, and {pair[1]} {gets}. The latter wins. "
                "Narrow one of the two rules with name=."
            )


def _winners_by_name(record: Record) -> Iterator[tuple[str, Claim]]:
    by_alias: dict[str, list[Claim]] = {}
    for name, claim in record.alias_claims:
        by_alias.setdefault(name, []).append(claim)
    # One rule makes the same claim under several names: each of them accounts for one.
    under_aliases = Counter(claim.rank for _, claim in record.alias_claims)
    for claim in record.claims:
        if under_aliases[claim.rank]:
            under_aliases[claim.rank] -= 1
        else:
            by_alias.setdefault(record.fqn, []).append(claim)
    for name, claims in by_alias.items():
        yield name, max(claims, key=lambda claim: claim.rank)


def _fill(planner: Planner, claim: Claim, record: Record) -> Fill | Initializer | None:
    shape, dtype = record.shape_and_dtype()
    if shape is None:
        return claim.scheme
    try:
        return planner.resolver.resolve(claim, record, shape, dtype).fill
    except AutoInitError:  # It has lost, so that it need not be defined for this shape.
        return claim.scheme


def _warn_of_own(planners: Iterable[Planner]) -> None:
    """Warn of each class whose own `init_weights` may overwrite what a passed rule gives, unless it was asked for."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for planner in planners:
        passed = {id(bound.rule) for bound in planner.bounds if bound.source.passed}
        if planner.surroundings.own_init == "run" or not planner.has_own:
            continue
        for record in planner.records:
            if record.own is None or record.kept is not None or not record.claims:
                continue
            winner = max(record.claims, key=lambda claim: claim.rank)
            if winner.rank[0] < OWN and id(winner.rule) in passed:
                fqns, origins = found.setdefault(str(record.own), ([], []))
                fqns.append(record.fqn)
                origins.append(winner.rule.origin)
    for call, (fqns, origins) in found.items():
        warn(
            f"{call} runs after the rules and may overwrite what {first_of(origins)} gives to {first_of(fqns)}. Pass "
            'own_init="skip" to leave it out, or own_init="run" to run it without this warning.'
        )


def _warn_of_kept(planners: Iterable[Planner]) -> None:
    """Warn of rules that match something, all of which holds data or follows what it is a copy of."""
    kept: dict[int, tuple[Rule, list[str], str]] = {}
    others: set[int] = set()
    for planner in planners:
        settled = planner.surroundings.settled
        passed = {id(bound.rule) for bound in planner.bounds if bound.source.passed}
        for record in planner.records:
            why = None if id(record.param) in settled else _why_kept(record)
            for claim in record.claims:
                if why is None:
                    others.add(id(claim.rule))
                elif not loads_rule(claim.rule) and id(claim.rule) in passed:
                    kept.setdefault(id(claim.rule), (claim.rule, [], why))[1].append(record.fqn)
    for key, (rule, fqns, why) in kept.items():
        if key not in others:
            warn(
                f"{rule.describe()} fills nothing: all that it matches ({first_of(fqns)}) is kept as it is: {why}. "
                "Add overwrite=True to the rule if it should be filled."
            )


def _why_kept(record: Record) -> str | None:
    """Why a parameter that rules match is kept, if only `overwrite=True` on the winner is missing."""
    if record.kept is None or not record.claims or not may_overwrite(record.kept):
        return None
    return None if max(record.claims, key=lambda claim: claim.rank).rule.overwrite else record.kept


def first_of(names: Iterable[str]) -> str:
    """The first of some names, for a message."""
    found = list(dict.fromkeys(names))
    return ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
