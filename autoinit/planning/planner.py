"""The decision: for every parameter of a model the rule of highest precedence, and its fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ..errors import ShapeError
from ..fans import torch_fans
from ..fills import Constant, Fill, TensorSpec
from ..rules import Rule
from .binding import LOADS, SETTLED
from .claims import Claim, Record
from .collecting import Collector
from .entries import Entry
from .plans import Plan


class Planner(Collector):
    """Collects claims in one walk over a model, then decides."""

    def plan(self) -> Plan:
        """Walk, and decide.

        Raises:
            ModuleGraphError, ConfigError, CheckpointError, ShapeError: the model or a rule is not fit for it.
        """
        self.collect()
        self._fills: dict[tuple[int, torch.Size, torch.dtype], Fill] = {}
        self._beaten: dict[tuple[tuple[int, ...], bool], tuple[Rule, ...]] = {}
        entries = {record.fqn: self._decide(record) for record in self.records.values()}
        self.steps.sort(key=lambda step: step.rank)
        return Plan(
            model=type(self.root).__name__,
            entries=entries,
            steps=tuple(self.steps),
            initialized=tuple(self.initialized),
        )

    def _decide(self, record: Record) -> Entry:
        claims, param, kept = record.claims, record.param, record.kept
        if len(claims) > 1:
            claims.sort(key=lambda claim: claim.rank)
        settled = self.surroundings.settled
        if settled and id(param) in settled:
            return self._settled(record, settled[id(param)], claims)
        lazy = torch.nn.parameter.is_lazy(param)
        if lazy and claims and kept is None:
            kept = "not materialized yet"
        winner = claims[-1] if claims and kept is None else None
        return Entry(
            fqn=record.fqn,
            shape=None if lazy else tuple(param.shape),
            dtype=param.dtype,
            layer=record.layer,
            fill=self._fill(winner, record) if winner is not None else None,
            rule=winner.rule if winner is not None else None,
            beat=self._losers(claims, winner) if claims else (),
            aliases=tuple(record.aliases),
            kept=kept,
            rank=winner.rank if winner is not None else (0, 0, 0, 0),
        )

    def _settled(self, record: Record, inner: Entry, claims: Sequence[Claim]) -> Entry:
        """An inner block's entry as the outer block sees it: only an outer checkpoint can still beat it (P2, P4)."""
        outer = [claim for claim in claims if claim.rank[0] == LOADS and claim.rank[1] > -self.own_depth]
        losers = self._losers([claim for claim in claims if claim not in outer], None)
        if not outer:
            known = {id(rule): rule for rule in (*losers, *inner.beat)}
            known.pop(id(inner.rule), None)
            changes: dict[str, Any] = {
                "beat": tuple(known.values()),
                "rank": (SETTLED, 0, 0, 0),
                "kept": "filled by an inner block",
            }
        else:
            won = outer[-1]
            beat = (*losers, *((inner.rule,) if inner.rule else ()))
            changes = {
                "beat": beat,
                "rank": won.rank,
                "rule": won.rule,
                "fill": self._fill(won, record),
                "kept": None,
            }
        return replace(inner, fqn=record.fqn, aliases=tuple(record.aliases), **changes)

    def _losers(self, claims: Sequence[Claim], winner: Claim | None) -> tuple[Rule, ...]:
        if not claims or (winner is not None and len(claims) == 1):
            return ()
        key = tuple(id(claim) for claim in claims), winner is None
        found = self._beaten.get(key)
        if found is None:
            # By identity: two equal rules at two places are two rules. A tied weight may meet one rule twice.
            rules = {id(claim.rule): claim.rule for claim in claims}
            if winner is not None:
                rules.pop(id(winner.rule), None)
            found = self._beaten[key] = tuple(rules.values())
        return found

    def _fill(self, claim: Claim, record: Record) -> Fill | None:
        scheme, param = claim.scheme, record.param
        if scheme is None:
            return None
        key = (id(scheme), param.shape, param.dtype)
        fill = self._fills.get(key)
        if fill is None:
            shape = tuple(param.shape)
            spec = TensorSpec(shape=shape, dtype=param.dtype, fans=torch_fans(shape))
            try:
                fill = scheme.fill(spec)
                _check_dtype(fill, param)
            except ShapeError as error:
                text = f"{claim.rule.describe()}: {record.fqn} of {record.layer}: {error}"
                raise ShapeError(text, origin=claim.rule.origin, fqn=record.fqn) from error
            self._fills[key] = fill
        return fill


def _check_dtype(fill: Fill, param: torch.Tensor) -> None:
    if param.dtype.is_floating_point or (param.dtype.is_complex and isinstance(fill, Constant)):
        return
    raise ShapeError(
        f"a parameter of dtype {param.dtype} cannot get {fill}: narrow the rule with name= or params= to leave it out."
    )
