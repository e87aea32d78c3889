"""The walk over a model that collects every rule's claims, and what runs besides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from torch import nn

from ..initializers import ModuleFunction
from ..rules import Rule
from .binding import OWN, Bound, Source, bind, fills_parameters
from .claims import Claim, Record, Surroundings, Territory
from .loads import loads_rule, plan_load
from .own import constructor_initializes, has_own_init_weights, has_protocol, is_initialized, own_rules
from .steps import ModuleCall, OwnInit, Step
from .tree import Node, walk


class Collector:
    """Everything that one walk over a model finds out.

    Args:
        root: the model, on any device, meta included.
        configs: the rules of each config that was passed, outermost first.
        surroundings: what else to respect.
    """

    def __init__(self, root: nn.Module, configs: Sequence[tuple[Rule, ...]], surroundings: Surroundings) -> None:
        self.root = root
        self.surroundings = surroundings
        self.own_depth = len(configs)
        self.bounds: list[Bound] = []
        self.records: dict[int, Record] = {}
        self.modules: dict[str, nn.Module] = {}
        self.steps: list[Step] = []
        self.initialized: list[str] = []
        self.census: Counter[type] = Counter()
        self.param_names: Counter[str] = Counter()
        self._seen: set[int] = set()
        self._called: set[int] = set()
        top = Node("", root, 0)
        self._own_rules: dict[int, tuple[Rule, ...]] = {}
        self._top = tuple(
            bound for depth, rules in enumerate(configs) for bound in self._bind(rules, top, depth, passed=True)
        )

    def collect(self) -> None:
        """Walk the model, then read what checkpoints have for it."""
        above: list[Territory] = [Territory(self._top, closed=self.surroundings.rules_only)]
        for node in walk(self.root):
            del above[node.depth + 1 :]
            territory = self._enter(node, above[-1])
            above.append(territory)
            self._visit(node, territory)
        for bound in self.bounds:
            if loads_rule(bound.rule):
                self._load(bound)

    def _bind(self, rules: tuple[Rule, ...], node: Node, depth: int, *, passed: bool) -> tuple[Bound, ...]:
        # The number of rules so far grows with every config: the order of the walk.
        source = Source(rules=rules, node=node, order=len(self.bounds), depth=depth, passed=passed)
        bounds = tuple(bind(source))
        self.bounds += bounds
        for bound in bounds:
            if isinstance(bound.rule.initializer, ModuleFunction):
                self.steps += self._calls(bound, bound.rule.initializer)
        return tuple(bound for bound in bounds if fills_parameters(bound))

    def _calls(self, bound: Bound, scheme: ModuleFunction) -> Iterator[ModuleCall]:
        for node in bound.head_nodes():
            bound.modules += 1
            bound.params += 1
            yield ModuleCall(fqn=node.fqn, scheme=scheme, whole=bound.is_override, rule=bound.rule, rank=bound.rank)

    def _load(self, bound: Bound) -> None:
        claim = Claim(bound.rank, bound.rule, None)
        for node in bound.head_nodes():
            load, tensors = plan_load(bound, node)
            bound.modules += 1
            bound.params += len(tensors)
            self.steps.append(load)
            for tensor in tensors.values():
                if id(tensor) in self.records:
                    self.records[id(tensor)].claims.append(claim)

    def _enter(self, node: Node, above: Territory) -> Territory:
        """The territory of a module: its parent's, unless it has something to say itself."""
        module = node.module
        if above.closed or id(module) in self.surroundings.carried_out:
            return above
        cls: type = type(module)
        constructed = above.constructed or (self.surroundings.called is None and constructor_initializes(cls))
        touchable = self.surroundings.may_touch(module)
        if touchable and self._runs_own(module, cls, constructed):
            if id(module) not in self._called:
                self._called.add(id(module))
                self.steps.append(OwnInit(fqn=node.fqn, rank=(OWN, len(self.steps), 0, 0)))
            return Territory(above.bounds, closed=True)
        if has_protocol(module):
            if is_initialized(module):
                return Territory(above.bounds, closed=True)
            if touchable:
                self.initialized.append(node.fqn)
        rules = self._rules_of(node) if touchable else ()
        if rules:
            own = self._bind(rules, node, self.own_depth + node.depth, passed=False)
            return Territory(above.bounds + own, constructed=constructed)
        return above if constructed == above.constructed else Territory(above.bounds, constructed=constructed)

    def _rules_of(self, node: Node) -> tuple[Rule, ...]:
        """A module's own rules, the same objects on every path to it."""
        rules = self._own_rules.get(id(node.module))
        if rules is None:
            rules = own_rules(node.module, node.fqn)
            if rules:
                self._own_rules[id(node.module)] = rules
        return rules

    def _runs_own(self, module: nn.Module, cls: type, constructed: bool) -> bool:
        if not has_own_init_weights(module) or is_initialized(module) or id(module) in self.surroundings.running:
            return False
        if self.surroundings.called is not None:
            return id(module) not in self.surroundings.called
        return not constructed or (has_protocol(module) and not constructor_initializes(cls))

    def _visit(self, node: Node, territory: Territory) -> None:
        module = node.module
        self.modules[node.fqn] = module
        selected = territory.selected(node)
        if id(module) not in self._seen:
            self._seen.add(id(module))
            self.census[type(module)] += 1
        for bound in selected:
            bound.modules += 1
        for name, param in module._parameters.items():
            if param is None:
                continue
            record = self._record(node, name, param)
            for bound, claim in territory.wishes(selected, name):
                bound.params += 1
                record.claims.append(claim)

    def _record(self, node: Node, name: str, param: nn.Parameter) -> Record:
        fqn = f"{node.fqn}.{name}" if node.fqn else name
        record = self.records.get(id(param))
        if record is None:
            self.param_names[name] += 1
            record = self.records[id(param)] = Record(fqn, param, type(node.module).__name__)
        elif fqn != record.fqn:
            record.aliases.append(fqn)
        record.kept = self.surroundings.why_kept(node.module, param) or record.kept
        return record
