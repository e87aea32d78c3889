"""Warnings of configs that have a meaning, by the order of precedence, which is rarely meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..errors import AutoInitError, warn
from ..fills import Fill
from ..initializers import Initializer
from ..rules import Rule
from .candidates import Candidate
from .matches import OWN, RULES, loads_rule
from .planner import Planner
from .policy import Unmatched
from .records import Record, rank_of
from .surroundings import may_overwrite

SHOWN = 3


def warn_of_conflicts(planners: Sequence[Planner], unmatched: Unmatched = "auto") -> None:
    """Warn of overrides that a later rule wipes out, of ties that two rules claim, of rules that have no effect.

    Args:
        planners: those of one block, when they have planned.
        unmatched: "ignore" leaves rules alone that select nothing which they may fill.
    """
    warned: set[tuple[str, str]] = set()
    for planner in planners:
        if any(match.is_override for match in planner.matches):
            for record in planner.records:
                _warn_of_wiped_overrides(record, warned)
        for record in planner.records:
            if record.alias_candidates and record.kept is None:
                _warn_of_tie(planner, record, warned)
    _warn_of_own(planners)
    if unmatched != "ignore":
        _warn_of_kept(planners)


def _warn_of_wiped_overrides(record: Record, warned: set[tuple[str, str]]) -> None:
    winner = record.winner
    if winner is None or winner.rank.level != RULES or winner.rank.override:
        return
    for loser in record.ranked()[:-1]:
        pair = (loser.rule.origin, winner.rule.origin)
        if loser.rank.override and loser.rank[:2] == winner.rank[:2] and pair not in warned:
            warned.add(pair)
            warn(
                f"{pair[0]} loses {record.fqn} to {pair[1]}, which comes later. Move {pair[1]} up if the override "
                "should win."
            )


def _warn_of_tie(planner: Planner, record: Record, warned: set[tuple[str, str]]) -> None:
    """By each of its names a tied parameter has a winner of its own; if these differ, a rule is not heeded."""
    winner = record.ranked()[-1]
    for name, candidate in _winners_by_name(record):
        pair = (candidate.rule.origin, winner.rule.origin)
        if candidate.rule is winner.rule or loads_rule(winner.rule) or pair in warned:
            continue
        given, gets = _fill(planner, candidate, record), _fill(planner, winner, record)
        if given != gets:
            warned.add(pair)
            names = " and ".join(dict.fromkeys([record.fqn, *record.aliases]))
            warn(
                f"{names} are one parameter: {pair[0]} gives {given} to {name}, and {pair[1]} {gets}. The latter wins. "
                "Narrow one of the two rules with name=."
            )


def _winners_by_name(record: Record) -> Iterator[tuple[str, Candidate]]:
    by_name: dict[str, list[Candidate]] = {}
    for name, candidate in record.alias_candidates:
        by_name.setdefault(name, []).append(candidate)
    if record.candidates:
        by_name[record.fqn] = list(record.candidates)
    for name, candidates in by_name.items():
        yield name, max(candidates, key=rank_of)


def _fill(planner: Planner, candidate: Candidate, record: Record) -> Fill | Initializer | None:
    shape, dtype = record.shape_and_dtype()
    if shape is None:
        return candidate.initializer
    try:
        return planner.resolver.resolve(candidate, record, shape, dtype).fill
    except AutoInitError:  # It has lost, so that it need not be defined for this shape.
        return candidate.initializer


def _warn_of_own(planners: Iterable[Planner]) -> None:
    """Warn of each class whose own `init_weights` may overwrite what a passed rule gives, unless it was asked for."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for planner in planners:
        if planner.surroundings.policy.own_init == "run" or not planner.has_own:
            continue
        for record in planner.records:
            winner = record.winner if record.own is not None and record.kept is None else None
            if winner is not None and winner.rank.level < OWN and planner.is_passed(winner):
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
        for record in planner.records:
            why = None if id(record.param) in settled else _why_kept(record)
            for candidate in record.ranked():
                if why is None:
                    others.add(id(candidate.rule))
                elif not loads_rule(candidate.rule) and planner.is_passed(candidate):
                    kept.setdefault(id(candidate.rule), (candidate.rule, [], why))[1].append(record.fqn)
    for key, (rule, fqns, why) in kept.items():
        if key not in others:
            warn(
                f"{rule.describe()} fills nothing: all that it matches ({first_of(fqns)}) is kept as it is: {why}. "
                "Add overwrite=True to the rule if it should be filled."
            )


def _why_kept(record: Record) -> str | None:
    """Why a parameter that rules match is kept, if only `overwrite=True` on the winner is missing."""
    if record.kept is None or not may_overwrite(record.kept):
        return None
    winner = record.winner
    return None if winner is None or winner.rule.overwrite else record.kept


def first_of(names: Iterable[str]) -> str:
    """The first of some names, for a message."""
    found = list(dict.fromkeys(names))
    return ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
