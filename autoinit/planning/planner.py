"""The decision: for every parameter of a model the rule of highest precedence, and its fill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import nn

from ..errors import ShapeError
from ..fans import torch_fans
from ..fills import Constant, Fill, TensorSpec
from ..initializers import Initializer, ModuleFunction
from ..rules import Rule
from .binding import LOADS, OWN, SETTLED, Bound, Rank, Source, bind, fills_parameters, find_targets
from .entries import Entry
from .loads import loads_rule, plan_load
from .own import constructor_initializes, defines_init_weights, has_protocol, is_initialized, own_rules
from .plans import Plan
from .steps import ModuleCall, OwnInit, Step
from .tree import Node, walk


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What planning has to respect besides rules.

    Args:
        built: ids of the modules that may be touched; None for all.
        final: ids of the modules whose values must not change any more.
        loaded: ids of the parameters that a checkpoint filled.
        settled: by id, the entries of parameters that an inner block has filled already.
        called: ids of the modules whose `init_weights` has run; None if nobody watched (the code is read instead).
        running: id of a module whose `init_weights` is being run right now.
    """

    built: Container[int] | None = None
    final: Container[int] = ()
    loaded: Container[int] = ()
    settled: Mapping[int, Entry] = field(default_factory=dict)
    called: Container[int] | None = None
    running: int | None = None


class Claim(NamedTuple):
    """A rule's wish for one parameter; no scheme for what a checkpoint supplies."""

    rank: Rank
    rule: Rule
    scheme: Initializer | None


class Wish(NamedTuple):
    """What one rule gives to parameters of one name in the modules it selects."""

    bound: Bound
    claim: Claim


@dataclass(eq=False)
class Record:
    """One parameter while claims on it are collected."""

    fqn: str
    param: torch.Tensor
    layer: str
    kept: str | None
    claims: list[Claim] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)


class Governing(NamedTuple):
    """What holds for a module because of its ancestors."""

    bounds: tuple[Bound, ...]
    closed: bool
    """An ancestor's own `init_weights` is responsible for everything below, as in the original."""
    constructed: bool
    """An ancestor's constructor has initialized everything below."""


class Planner:
    """Collects claims in one walk over a model, then decides.

    Args:
        root: the model, on any device, meta included.
        configs: the rules of each config that was passed, outermost first.
        surroundings: what else to respect.
    """

    def __init__(self, root: nn.Module, configs: Sequence[tuple[Rule, ...]], surroundings: Surroundings) -> None:
        self.root = root
        self.surroundings = surroundings
        self.first_depth = len(configs)
        self.bounds: list[Bound] = []
        self.records: dict[int, Record] = {}
        self.steps: list[Step] = []
        self.initialized: list[str] = []
        self.census: Counter[type] = Counter()
        self.param_names: Counter[str] = Counter()
        self._selected: dict[tuple[tuple[Bound, ...], type], list[Bound]] = {}
        self._wishes: dict[tuple[tuple[Bound, ...], str], list[Wish]] = {}
        self._fills: dict[tuple[int, object, torch.dtype], Fill] = {}
        self._beaten: dict[tuple[tuple[int, ...], bool], tuple[Rule, ...]] = {}
        self._seen: set[int] = set()
        top = Node("", root, 0)
        sources = [Source(rules=rules, node=top, depth=depth, passed=True) for depth, rules in enumerate(configs)]
        self._top = tuple(bound for source in sources for bound in self._bind(source))

    def plan(self) -> Plan:
        """Walk, load checkpoints' keys, decide."""
        self._collect()
        for bound in self.bounds:
            if loads_rule(bound.rule) and not bound.is_override:
                load, tensors = plan_load(bound)
                bound.modules, bound.params = 1, len(tensors)
                self.steps.append(load)
                for tensor in tensors.values():
                    if id(tensor) in self.records:
                        self.records[id(tensor)].claims.append(Claim(bound.rank, bound.rule, None))
        entries = {record.fqn: self._decide(record) for record in self.records.values()}
        self.steps.sort(key=lambda step: step.rank)
        return Plan(
            model=type(self.root).__name__,
            entries=entries,
            steps=tuple(self.steps),
            initialized=tuple(self.initialized),
        )

    def _bind(self, source: Source) -> tuple[Bound, ...]:
        bounds = tuple(bind(source))
        self.bounds += bounds
        for bound in bounds:
            scheme = bound.rule.initializer
            if isinstance(scheme, ModuleFunction):
                self._call(bound, scheme)
        return tuple(bound for bound in bounds if fills_parameters(bound))

    def _call(self, bound: Bound, scheme: ModuleFunction) -> None:
        base = bound.source.node
        fqns = [base.fqn]
        if bound.is_override:
            targets = (
                {id(m) for name in bound.rule.name for m in find_targets(base, name)} if not bound.missing else set()
            )
            fqns = [base.name(node.fqn) for node in walk(base.module) if id(node.module) in targets]
        bound.modules = bound.params = len(fqns)
        self.steps += [
            ModuleCall(fqn=fqn, scheme=scheme, whole=bound.is_override, rule=bound.rule, rank=bound.rank)
            for fqn in fqns
        ]

    def _collect(self) -> None:
        governing: list[Governing] = [Governing(self._top, False, False)]
        for node in walk(self.root):
            del governing[node.depth + 1 :]
            here = self._enter(node, governing[node.depth])
            governing.append(here)
            if id(node.module) not in self._seen:
                self.census[type(node.module)] += 1
            self._visit(node, here.bounds)
            self._seen.add(id(node.module))

    def _enter(self, node: Node, above: Governing) -> Governing:
        if above.closed:
            return above
        module = node.module
        cls: type = type(module)
        constructed = above.constructed or (self.surroundings.called is None and constructor_initializes(cls))
        if self._runs_own(module, cls, constructed):
            if id(module) not in self._seen:
                self.steps.append(OwnInit(fqn=node.fqn, rank=(OWN, node.depth, 0, 0)))
            return Governing(above.bounds, True, constructed)
        if has_protocol(module) and self._may_touch(module) and not is_initialized(module):
            self.initialized.append(node.fqn)
        rules = own_rules(module, node.fqn)
        if not rules or not self._may_touch(module):
            return Governing(above.bounds, False, constructed)
        source = Source(rules=rules, node=node, depth=self.first_depth + node.depth, passed=False)
        return Governing(above.bounds + self._bind(source), False, constructed)

    def _runs_own(self, module: nn.Module, cls: type, constructed: bool) -> bool:
        if not defines_init_weights(cls) or is_initialized(module) or not self._may_touch(module):
            return False
        if id(module) == self.surroundings.running:
            return False
        if self.surroundings.called is not None:
            return id(module) not in self.surroundings.called
        return not constructed or (has_protocol(module) and not constructor_initializes(cls))

    def _is_built(self, module: nn.Module) -> bool:
        return self.surroundings.built is None or id(module) in self.surroundings.built

    def _may_touch(self, module: nn.Module) -> bool:
        return self._is_built(module) and id(module) not in self.surroundings.final

    def _visit(self, node: Node, bounds: tuple[Bound, ...]) -> None:
        cls = type(node.module)
        of_class = self._selected.get((bounds, cls))
        if of_class is None:
            of_class = self._selected[bounds, cls] = [bound for bound in bounds if bound.selects_class(cls)]
        selected = tuple(bound for bound in of_class if bound.selects_node(node))
        first_visit = id(node.module) not in self._seen
        if first_visit:
            for bound in selected:
                bound.modules += 1
        for name, param in node.module._parameters.items():
            if param is None:
                continue
            record = self._record(node, name, param)
            for wish in self._wished(selected, name):
                wish.bound.params += first_visit
                record.claims.append(wish.claim)

    def _wished(self, selected: tuple[Bound, ...], name: str) -> list[Wish]:
        wishes = self._wishes.get((selected, name))
        if wishes is None:
            schemes = ((bound, bound.rule.scheme_for(name)) for bound in selected)
            wishes = [Wish(b, Claim(b.rank, b.rule, scheme)) for b, scheme in schemes if scheme is not None]
            self._wishes[selected, name] = wishes
        return wishes

    def _record(self, node: Node, name: str, param: torch.Tensor) -> Record:
        fqn = node.name(name)
        record = self.records.get(id(param))
        if record is None:
            self.param_names[name] += 1
            record = self.records[id(param)] = Record(fqn, param, type(node.module).__name__, None)
        elif fqn != record.fqn:
            record.aliases.append(fqn)
        if id(param) in self.surroundings.loaded:
            record.kept = "loaded"
        elif id(node.module) in self.surroundings.final:
            record.kept = "final since its first call"
        elif not self._is_built(node.module):
            record.kept = "built outside the block"
        return record

    def _decide(self, record: Record) -> Entry:
        param = record.param
        lazy = torch.nn.parameter.is_lazy(param)
        claims = sorted(record.claims, key=lambda claim: claim.rank)
        kept = "not materialized yet" if lazy and claims and record.kept is None else record.kept
        settled = self.surroundings.settled.get(id(param))
        if settled is not None:
            return self._settled(record, settled, claims)
        winner = claims[-1] if claims and kept is None else None
        fill = self._fill(winner, record) if winner is not None else None
        return Entry(
            fqn=record.fqn,
            shape=None if lazy else tuple(param.shape),
            dtype=param.dtype,
            layer=record.layer,
            fill=fill,
            rule=winner.rule if winner else None,
            beat=self._losers(claims, winner),
            aliases=tuple(record.aliases),
            kept=kept,
            rank=winner.rank if winner else (0, 0, 0, 0),
        )

    def _settled(self, record: Record, inner: Entry, claims: Sequence[Claim]) -> Entry:
        """An inner block's entry as the outer block sees it: only an outer checkpoint can still beat it (P2, P4)."""
        outer = [claim for claim in claims if claim.rank[0] == LOADS and claim.rank[1] > -self.first_depth]
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
