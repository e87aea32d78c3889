"""The decision: for every parameter of a model the rule of highest precedence, and its fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..initializers import Resolved
from ..layers import class_name
from ..rules import Rule
from .binding import LOADS, SETTLED, unwrapped
from .claims import Claim, may_overwrite
from .collecting import Collector
from .entries import NEVER_WRITTEN, Entry
from .layouts import Layouts
from .loads import expanded
from .plans import Executor, Plan
from .recipients import own_tensors
from .records import Record
from .resolver import Resolver, is_expanded
from .steps import Load
from .tree import joined, walk

NOTHING = Resolved(fill=None)


class Planner(Collector):
    """Collects claims in one walk over a model, then decides."""

    _is_collected = False

    def collect(self) -> None:
        """Walk, once."""
        if not self._is_collected:
            self._is_collected = True
            super().collect()

    def plan(self, executor: Executor | None = None) -> Plan:
        """Walk, and decide.

        Args:
            executor: What applies the plan.

        Raises:
            ModuleGraphError, ConfigError, CheckpointError, ShapeError, ParametrizationError: the model or a rule is not
                fit for it.
        """
        self.collect()
        self.resolver = Resolver(self.surroundings.fan, Layouts(self.modules))
        self._beaten: dict[tuple[tuple[int, ...], bool], tuple[Rule, ...]] = {}
        entries = {record.fqn: self._decide(record) for record in self.records}
        self.steps = [self._sparing(step, entries) if isinstance(step, Load) else step for step in self.steps]
        self.steps.sort(key=lambda step: step.rank)
        return Plan(
            model=class_name(self.root),
            entries=entries,
            steps=tuple(self.steps),
            initialized=tuple(self.initialized),
            version=self.surroundings.version,
            executor=executor,
        )

    def _decide(self, record: Record) -> Entry:
        if len(record.claims) > 1:
            record.claims = tuple(sorted(record.claims, key=lambda claim: claim.rank))
        claims, kept = record.claims, record.kept
        if kept is not None and claims and claims[-1].rule.overwrite and may_overwrite(kept):
            kept = None
        if kept is None and not claims and self.surroundings.is_unwritten(record.tensors):
            kept = NEVER_WRITTEN
        settled = self.surroundings.settled
        if settled and id(record.param) in settled:
            return self._settled(record, settled[id(record.param)], claims)
        if record.within is not None and claims and kept is None:
            kept = self._against_weight(record, record.within)
        winner = claims[-1] if claims and kept is None else None
        shape, dtype = record.shape_and_dtype()
        gets = self._gets(winner, record, shape, dtype)
        return Entry(
            fqn=record.fqn,
            shape=shape,
            dtype=dtype,
            layer=record.layer,
            fill=gets.fill,
            rule=winner.rule if winner is not None else None,
            beat=self._losers(claims, winner) if claims else (),
            aliases=record.aliases,
            kept=kept,
            fans=gets.fans,
            through=record.weight.through if record.weight is not None else "",
            stored=record.stored,
            own=record.own,
            loader=self._loader(record, winner) if record.load is not None and kept is None else None,
            deferred=self.resolver.defer(winner, record) if winner is not None and shape is None else None,
            rank=winner.rank if winner is not None else (0, 0, 0, 0),
        )

    def _gets(
        self, winner: Claim | None, record: Record, shape: tuple[int, ...] | None, dtype: torch.dtype
    ) -> Resolved:
        if winner is None or shape is None:
            return NOTHING
        return self.resolver.resolve(winner, record, shape, dtype)

    @staticmethod
    def _loader(record: Record, winner: Claim | None) -> Rule | None:
        """The rule of the checkpoint that loading code may load into it, unless a later rule wins."""
        load = record.load
        return load.rule if load is not None and (winner is None or winner.rank < load.rank) else None

    @staticmethod
    def _against_weight(record: Record, weight: Record) -> str | None:
        """Why a stored tensor that a rule names does not get it: a later rule sets the weight that it is a part of."""
        later = max((claim.rank for claim in weight.claims), default=record.claims[-1].rank)
        return f"set through {weight.fqn}" if later > record.claims[-1].rank else None

    def _settled(self, record: Record, inner: Entry, claims: Sequence[Claim]) -> Entry:
        """An inner block's entry as the outer block sees it: only an outer checkpoint can still beat it (P2, P4)."""
        outer = [claim for claim in claims if claim.rank[0] == LOADS and claim.rank[1] > -self.own_depth]
        if inner.kept is not None and may_overwrite(inner.kept):  # By the model's own code, not by a rule (I2).
            outer = []
        losers = self._losers([claim for claim in claims if claim not in outer], None)
        if not outer:
            known = {id(rule): rule for rule in (*losers, *inner.beat)}
            known.pop(id(inner.rule), None)
            changes: dict[str, Any] = {
                "beat": tuple(known.values()),
                "rank": (SETTLED, 0, 0, 0),
                "kept": inner.kept or "filled by an inner block",
            }
        else:
            won = outer[-1]
            beat = (*losers, *((inner.rule,) if inner.rule else ()))
            changes = {
                "beat": beat,
                "rank": won.rank,
                "rule": won.rule,
                "fill": self._gets(won, record, *record.shape_and_dtype()).fill,
                "kept": None,
            }
        return replace(inner, fqn=record.fqn, aliases=record.aliases, **changes)

    def _sparing(self, load: Load, entries: Mapping[str, Entry]) -> Load:
        """A load without what must be left alone, however well the checkpoint fits it.

        Raises:
            CheckpointError: what is left cannot be written to.
        """
        keys, kept = dict.fromkeys(load.keys), []
        for node in walk(unwrapped(self.modules[load.fqn])):
            for name, tensor in own_tensors(node.module).items():
                key = joined(node.fqn, name)
                if key in keys and self._stays(node.module, tensor, load, entries):
                    kept.append(key)
                    del keys[key]
                elif key in keys and not is_lazy(tensor) and is_expanded(tensor):
                    raise expanded(load, key)
        return replace(load, keys=tuple(keys), kept=tuple(kept)) if kept else load

    def _stays(self, module: nn.Module, tensor: Tensor, load: Load, entries: Mapping[str, Entry]) -> bool:
        record = self.records.of(tensor)
        if record is not None:
            return entries[record.fqn].kept is not None
        if self.surroundings.why_kept(module, [tensor]) is None:
            return False
        # A buffer. If a checkpoint of an inner block has loaded it, it follows the parameters beside it (P4).
        beside = (self.records.of(param) for param in module._parameters.values() if param is not None)
        return not any(
            record is not None
            and id(record.param) in self.surroundings.settled
            and entries[record.fqn].rule is load.rule
            for record in beside
        )

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
