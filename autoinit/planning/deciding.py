"""The decision: for every parameter of a model the rule of highest precedence, and its fill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..initializers import Resolved
from ..layers import class_name
from ..rules import Rule
from .candidates import Candidate
from .entries import NEVER_WRITTEN, Entry
from .loads import expanded
from .matches import LOADS, NO_RANK, SETTLED, Rank
from .planner import Planner
from .plans import Executor, Plan
from .recipients import own_tensors
from .records import Record
from .resolver import is_expanded
from .steps import Load
from .surroundings import may_overwrite
from .tree import joined, unwrapped, walk

NOTHING = Resolved(fill=None)


def planned(planner: Planner, executor: Executor | None = None) -> Plan:
    """Walk over a model, if that was not done yet, and decide.

    Args:
        planner: The model, with the rules.
        executor: What applies the plan.

    Raises:
        ModuleGraphError, ConfigError, CheckpointError, ShapeError, ParametrizationError: the model or a rule is not
            fit for it.
    """
    planner.collect()
    decision = Decision(planner)
    entries = {record.fqn: decision.entry(record) for record in planner.records}
    steps = [decision.sparing(step, entries) if isinstance(step, Load) else step for step in planner.steps]
    return Plan(
        model=class_name(planner.root),
        entries=entries,
        steps=tuple(sorted(steps, key=lambda step: step.rank)),
        initialized=tuple(planner.initialized),
        version=planner.surroundings.policy.version,
        executor=executor,
    )


class Decision:
    """Which candidate wins each record of a planner, and what it loads where."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._surroundings = planner.surroundings
        self._beaten: dict[tuple[tuple[int, ...], bool], tuple[Rule, ...]] = {}

    def entry(self, record: Record) -> Entry:
        """What becomes of one tensor."""
        candidates, kept = record.ranked(), record.kept
        best = candidates[-1] if candidates else None
        if kept is not None and best is not None and best.rule.overwrite and may_overwrite(kept):
            kept = None
        if kept is None and best is None and self._surroundings.is_unwritten(record.tensors):
            kept = NEVER_WRITTEN
        if self._surroundings.settled and (inner := self._surroundings.settled.get(id(record.param))) is not None:
            return self._settled(record, inner, candidates)
        if record.within is not None and best is not None and kept is None:
            kept = _against_weight(best, record.within)
        winner = best if kept is None else None
        shape, dtype = record.shape_and_dtype()
        gets = self._gets(winner, record, shape, dtype)
        return Entry(
            fqn=record.fqn,
            shape=shape,
            dtype=dtype,
            layer=record.layer,
            fill=gets.fill,
            rule=winner.rule if winner is not None else None,
            beat=self._losers(candidates, winner),
            aliases=record.aliases,
            kept=kept,
            fans=gets.fans,
            through=record.weight.through if record.weight is not None else "",
            stored=record.stored,
            own=record.own,
            loader=_loader(record, winner) if kept is None else None,
            deferred=self._planner.resolver.defer(winner, record) if winner is not None and shape is None else None,
            rank=winner.rank if winner is not None else NO_RANK,
        )

    def _gets(
        self, winner: Candidate | None, record: Record, shape: tuple[int, ...] | None, dtype: torch.dtype
    ) -> Resolved:
        if winner is None or shape is None:
            return NOTHING
        return self._planner.resolver.resolve(winner, record, shape, dtype)

    def _settled(self, record: Record, inner: Entry, candidates: Sequence[Candidate]) -> Entry:
        """An inner block's entry as the outer block sees it: only an outer checkpoint can still beat it (P2, P4)."""
        outer = [each for each in candidates if each.rank.level == LOADS and each.rank.config > -self._planner.passed]
        if inner.kept is not None and may_overwrite(inner.kept):  # By the model's own code, not by a rule (I2).
            outer = []
        losers = self._losers([each for each in candidates if each not in outer], None)
        names = replace(inner, fqn=record.fqn, aliases=record.aliases)
        if not outer:
            beat = _distinct((*losers, *inner.beat), but=inner.rule)
            kept = inner.kept or "filled by an inner block"
            return replace(names, beat=beat, rank=Rank(SETTLED, 0, 0, 0), kept=kept)
        won = outer[-1]
        beat = (*losers, *((inner.rule,) if inner.rule else ()))
        fill = self._gets(won, record, *record.shape_and_dtype()).fill
        return replace(names, beat=beat, rank=won.rank, rule=won.rule, fill=fill, kept=None)

    def _losers(self, candidates: Sequence[Candidate], winner: Candidate | None) -> tuple[Rule, ...]:
        """The rules that lost, weakest first: one object for all records with the same candidates."""
        if not candidates or (winner is not None and len(candidates) == 1):
            return ()
        key = tuple(map(id, candidates)), winner is None
        if key not in self._beaten:
            rules = (candidate.rule for candidate in candidates)
            self._beaten[key] = _distinct(rules, but=winner.rule if winner is not None else None)
        return self._beaten[key]

    def sparing(self, load: Load, entries: Mapping[str, Entry]) -> Load:
        """A load without what must be left alone, however well the checkpoint fits it.

        Raises:
            CheckpointError: what is left cannot be written to.
        """
        keys, kept = dict.fromkeys(load.keys), []
        for node in walk(unwrapped(self._planner.modules[load.fqn])):
            for name, tensor in own_tensors(node.module).items():
                key = joined(node.fqn, name)
                if key in keys and self._stays(node.module, tensor, load, entries):
                    kept.append(key)
                    del keys[key]
                elif key in keys and not is_lazy(tensor) and is_expanded(tensor):
                    raise expanded(load, key)
        return replace(load, keys=tuple(keys), kept=tuple(kept)) if kept else load

    def _stays(self, module: nn.Module, tensor: Tensor, load: Load, entries: Mapping[str, Entry]) -> bool:
        records = self._planner.records
        record = records.of(tensor)
        if record is not None:
            return entries[record.fqn].kept is not None
        if self._surroundings.why_kept(module, [tensor]) is None:
            return False
        # A buffer. If a checkpoint of an inner block has loaded it, it follows the parameters beside it (P4).
        beside = (records.of(param) for param in module._parameters.values() if param is not None)
        return not any(
            record is not None
            and id(record.param) in self._surroundings.settled
            and entries[record.fqn].rule is load.rule
            for record in beside
        )


def _distinct(rules: Iterable[Rule], but: Rule | None) -> tuple[Rule, ...]:
    # By identity: two equal rules at two places are two rules. A tied weight may meet one rule twice.
    return tuple({id(rule): rule for rule in rules if rule is not but}.values())


def _loader(record: Record, winner: Candidate | None) -> Rule | None:
    """The rule of the checkpoint that loading code may load into it, unless a later rule wins."""
    load = record.load
    return load.rule if load is not None and (winner is None or winner.rank < load.rank) else None


def _against_weight(best: Candidate, weight: Record) -> str | None:
    """Why a stored tensor that a rule names does not get it: a later rule sets the weight that it is a part of."""
    winner = weight.winner
    return f"set through {weight.fqn}" if winner is not None and winner.rank > best.rank else None
