"""The decision: for every parameter of a model the rule of highest precedence, and its fill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import CheckpointError
from ..initializers import Default
from ..initializers.defaults import reset_method
from ..layers import class_name
from ..rules import Rule
from .entries import NEVER_WRITTEN, Entry
from .loads import own_tensors
from .matches import INNER, LOADS, NO_RANK, Candidate, Rank
from .planner import Planner
from .plans import Executor, Plan
from .policy import PlanContext, may_overwrite
from .records import Record
from .resolver import is_expanded
from .steps import Load, Reset, Step
from .tree import joined, unwrapped, walk


def planned(planner: Planner, executor: Executor | None = None) -> Plan:
    """The plan of a model, which is walked if that was not done yet; `executor` applies it.

    Raises:
        ModuleGraphError, ConfigError, CheckpointError, ShapeError, ParametrizationError: The model or a rule is not
            fit for it.
    """
    planner.collect()
    lost: dict[tuple[int, ...], tuple[Rule, ...]] = {}
    entries = {record.fqn: _entry(planner, record, lost) for record in planner.records}
    steps: list[Step] = [_sparing(planner, step, entries) if isinstance(step, Load) else step for step in planner.steps]
    steps += _resets(planner, entries)
    return Plan(
        model=class_name(planner.root),
        entries=entries,
        steps=tuple(sorted(steps, key=lambda step: step.rank)),
        initialized=tuple(planner.initialized),
        version=planner.context.policy.version,
        executor=executor,
    )


def _entry(planner: Planner, record: Record, lost: dict[tuple[int, ...], tuple[Rule, ...]]) -> Entry:
    """What one tensor gets; `lost` keeps one tuple of losers for all records with the same candidates."""
    candidates, resolver = record.ranked(), planner.resolver
    inner = planner.context.filled_within.get(id(record.param))
    if inner is not None:
        return _entry_after_inner(planner, record, inner, candidates)
    kept = _why_kept(planner.context, record, candidates)
    winner = candidates[-1] if candidates and kept is None else None
    shape, dtype = record.shape_and_dtype()
    gets = resolver.resolve(winner, record, shape, dtype)
    overrides: tuple[Rule, ...] = ()
    if len(candidates) > (winner is not None):
        key = (*map(id, candidates), winner is None)
        overrides = lost[key] = lost.get(key) or _rules_of(candidates, winner.rule if winner is not None else None)
    is_loaded_later = record.load is not None and kept is None and (winner is None or winner.rank < record.load.rank)
    return Entry(
        fqn=record.fqn,
        shape=shape,
        dtype=dtype,
        layer=class_name(record.owner),
        fill=gets.fill,
        rule=winner.rule if winner is not None else None,
        overrides=overrides,
        aliases=record.aliases,
        kept=kept,
        fans=gets.fans,
        other_fans=resolver.other_fans(winner, record, shape, dtype) if gets.fans else (),
        through=record.weight.through if record.weight is not None else "",
        stored=record.stored,
        own=record.own,
        loader=record.load.rule if record.load is not None and is_loaded_later else None,
        deferred=resolver.defer(candidates, record) if winner is not None and shape is None else None,
        rank=winner.rank if winner is not None else NO_RANK,
    )


def _why_kept(context: PlanContext, record: Record, candidates: Sequence[Candidate]) -> str | None:
    """Why a tensor is left alone; None if the last of its candidates, if there are any, fills it."""
    kept = record.kept
    if not candidates:
        return NEVER_WRITTEN if kept is None and context.is_unwritten(record.tensors) else kept
    best = candidates[-1]
    if kept is not None and best.rule.overwrite and may_overwrite(kept):
        kept = None
    whole = record.within.winner if record.within is not None else None
    if kept is None and record.within is not None and whole is not None and whole.rank > best.rank:
        return f"set through {record.within.fqn}"
    return kept


def _resets(planner: Planner, entries: Mapping[str, Entry]) -> Iterator[Reset]:
    """The calls of layers' own methods for what rules of type `Default` have won, without a closed form."""
    won: dict[tuple[int, int], list[Record]] = {}
    for record in planner.records:
        entry = entries[record.fqn]
        is_default = entry.rule is not None and isinstance(entry.rule.initializer, Default)
        if is_default and entry.fill is None and entry.kept is None and entry.deferred is None:
            won.setdefault((id(record.owner), id(entry.rule)), []).append(record)
    for records in won.values():
        owner, entry = records[0].owner, entries[records[0].fqn]
        method, rule = reset_method(owner), entry.rule
        if method is not None and rule is not None:
            path = records[0].fqn.removesuffix(records[0].name).removesuffix(".")
            params = tuple([record.fqn for record in records])
            yield Reset(fqn=path, model=class_name(owner), method=method, params=params, rule=rule, rank=entry.rank)


def _entry_after_inner(planner: Planner, record: Record, inner: Entry, candidates: Sequence[Candidate]) -> Entry:
    """An inner block's entry as the outer block sees it: only an outer checkpoint can still beat it (P2, P4)."""
    outer = [each for each in candidates if each.rank.level == LOADS and each.rank.config > -planner.passed]
    if inner.kept is not None and may_overwrite(inner.kept):  # By the model's own code, not by a rule (I2).
        outer = []
    lost = _rules_of([each for each in candidates if each not in outer])
    entry = replace(inner, fqn=record.fqn, aliases=record.aliases)
    if outer:
        won = outer[-1]
        fill = planner.resolver.resolve(won, record, *record.shape_and_dtype()).fill
        overrides = (*lost, *((inner.rule,) if inner.rule else ()))
        return replace(entry, overrides=overrides, rank=won.rank, rule=won.rule, fill=fill, kept=None)
    overrides = tuple({id(rule): rule for rule in (*lost, *inner.overrides) if rule is not inner.rule}.values())
    return replace(entry, overrides=overrides, rank=Rank(INNER, 0, 0, 0), kept=inner.kept or "filled by an inner block")


def _rules_of(candidates: Sequence[Candidate], winner: Rule | None = None) -> tuple[Rule, ...]:
    # By identity: two equal rules at two places are two rules. A tied weight may meet one rule twice.
    return tuple({id(each.rule): each.rule for each in candidates if each.rule is not winner}.values())


def _sparing(planner: Planner, load: Load, entries: Mapping[str, Entry]) -> Load:
    """A load without the tensors that must be left alone, however well the checkpoint fits them."""
    keys, kept = dict.fromkeys(load.keys), []
    for node in walk(unwrapped(planner.modules[load.fqn])):
        for name, tensor in own_tensors(node.module).items():
            key = joined(node.fqn, name)
            if key in keys and _stays(planner, node.module, tensor, load, entries):
                kept.append(key)
                del keys[key]
            elif key in keys and not is_lazy(tensor) and is_expanded(tensor):
                origin, fqn = load.rule.origin, joined(load.fqn, key)
                what = f"{load.checkpoint.location} cannot be loaded into {fqn}"
                text = f"{origin}: {what}: its elements share memory, because it was expanded. Make it contiguous."
                raise CheckpointError(text, origin=origin, fqn=fqn)
    return replace(load, keys=tuple(keys), kept=tuple(kept)) if kept else load


def _stays(planner: Planner, module: nn.Module, tensor: Tensor, load: Load, entries: Mapping[str, Entry]) -> bool:
    records, context = planner.records, planner.context
    record = records.by_id.get(id(tensor))
    if record is not None:
        return entries[record.fqn].kept is not None
    if context.why_kept(module, [tensor]) is None:
        return False
    # A buffer. If a checkpoint of an inner block has loaded it, it follows the parameters beside it (P4).
    beside = [records.by_id.get(id(param)) for param in module._parameters.values() if param is not None]
    return not any(
        record is not None and id(record.param) in context.filled_within and entries[record.fqn].rule is load.rule
        for record in beside
    )
