"""The walk over a model that collects every rule's claims, and what runs besides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import nn

from ..initializers import ModuleFunction
from ..parametrized import effective_weights
from ..rules import Rule
from .binding import OWN, Bound, Source, bind, fills_parameters, relative_name
from .claims import Claim, Surroundings, Territory
from .loads import loads_rule, plan_load
from .own import has_own_init_weights, has_protocol, is_initialized, own_rules
from .records import Record, Records
from .steps import ModuleCall, OwnInit, Step
from .tree import Node, joined, walk

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
CONTAINERS = (nn.ParameterList, nn.ParameterDict)


class Site(NamedTuple):
    """One path to one module, with the rules that select it."""

    node: Node
    territory: Territory
    selected: tuple[Bound, ...]


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
        self.records = Records()
        self.modules: dict[str, nn.Module] = {}
        self.steps: list[Step] = []
        self.initialized: list[str] = []
        self.census: Counter[type] = Counter()
        self.param_names: Counter[str] = Counter()
        self._sites: list[Site] = []
        self._seen: set[int] = set()
        self._called: set[int] = set()
        top = Node("", root, 0)
        self._own_rules: dict[int, tuple[Rule, ...]] = {}
        self._top = tuple(
            bound for depth, rules in enumerate(configs) for bound in self._bind(rules, top, depth, passed=True)
        )

    def collect(self) -> None:
        """Walk the model, then read what checkpoints have for it."""
        top = Territory(self._top, closed=self.surroundings.rules_only)
        for node in walk(self.root):
            del self._sites[node.depth :]
            territory = self._enter(node, self._sites[-1].territory if self._sites else top)
            site = Site(node, territory, territory.selected(node))
            self._sites.append(site)
            self._visit(site)
            if self.surroundings.shallow:
                break
        for bound in self.bounds:
            if loads_rule(bound.rule):
                self._load(bound)

    @property
    def has_own(self) -> bool:
        """Whether a module's own `init_weights` will run."""
        return any(isinstance(step, OwnInit) for step in self.steps)

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
            bound.has_modules = True
            bound.has_params = True
            yield ModuleCall(fqn=node.fqn, scheme=scheme, whole=bound.is_override, rule=bound.rule, rank=bound.rank)

    def _load(self, bound: Bound) -> None:
        claim = Claim(bound.rank, bound.rule, None)
        for node in bound.head_nodes():
            load, tensors, likely = plan_load(bound, node)
            bound.has_modules = True
            bound.has_params |= bool(tensors or load.coded)
            self.steps.append(load)
            for tensor in likely.values():
                record = self.records.of(tensor)
                if record is not None and (record.load is None or record.load.rank < load.rank):
                    record.load = load
            # Once for a weight that is computed from several.
            found = {id(record): record for tensor in tensors.values() if (record := self.records.of(tensor))}
            for record in found.values():
                record.claim(record.fqn, claim)

    def _enter(self, node: Node, above: Territory) -> Territory:
        """The territory of a module: its parent's, unless it has something to say itself."""
        module = node.module
        if above.closed or id(module) in self.surroundings.carried_out:
            return above
        protocol = above.protocol or has_protocol(module)
        touchable = self.surroundings.may_touch(module)
        if touchable and self._runs_own(module, protocol):
            return self._own_territory(node, above)
        if has_protocol(module):
            if is_initialized(module):
                return Territory(above.bounds, closed=True)
            if touchable:
                self.initialized.append(node.fqn)
        rules = self._rules_of(node) if touchable else ()
        own = self._bind(rules, node, self.own_depth + node.depth, passed=False) if rules else ()
        return Territory(above.bounds + own, protocol=protocol) if own or protocol != above.protocol else above

    def _own_territory(self, node: Node, above: Territory) -> Territory:
        """The territory of a module that initializes itself and everything below it."""
        module, asked = node.module, self.surroundings.asked or self.surroundings.own_init == "run"
        if not (asked or above.bounds or has_protocol(module)):
            return Territory((), closed=True)  # Its init_weights is left to whoever builds the model.
        step = OwnInit(fqn=node.fqn, model=type(module).__name__, rank=(OWN, len(self.steps), 0, 0))
        if id(module) not in self._called:
            self._called.add(id(module))
            self.steps.append(step)
        return Territory(above.bounds, closed=True, own=step)

    def _rules_of(self, node: Node) -> tuple[Rule, ...]:
        """A module's own rules, the same objects on every path to it."""
        rules = self._own_rules.get(id(node.module))
        if rules is None:
            rules = own_rules(node.module, node.fqn)
            if rules:
                self._own_rules[id(node.module)] = rules
        return rules

    def _runs_own(self, module: nn.Module, protocol: bool) -> bool:
        """Whether to call a module's own `init_weights`; `protocol`: OpenMMLab's `BaseModule` would call it."""
        about = self.surroundings
        if about.own_init == "skip" or id(module) in about.running:
            return False
        if not has_own_init_weights(module) or is_initialized(module):
            return False
        if about.own_init == "run":
            return True
        return protocol if about.called is None else id(module) not in about.called

    def _visit(self, site: Site) -> None:
        node, module = site.node, site.node.module
        self.modules[node.fqn] = module
        if id(module) not in self._seen:
            self._seen.add(id(module))
            self.census[type(module)] += 1
        for bound in site.selected:
            bound.has_modules = True
        if module._forward_pre_hooks or "parametrizations" in module._modules:
            for weight in effective_weights(module):
                self._claim(site, weight.name, self.records.weight(node, weight))
        for name, param in module._parameters.items():
            if param is not None:
                self._visit_param(site, name, param)
        if site.selected:
            for name in site.territory.named(site.selected):
                buffer = module._buffers.get(name)
                if buffer is not None:
                    self._claim(site, name, self.records.named(node, name, buffer), named=True)

    def _visit_param(self, site: Site, name: str, param: nn.Parameter) -> None:
        record = self.records.of(param)
        if record is not None and record.weight is not None:
            # It follows the weight that is computed from it, unless a rule asks for it by name.
            if name in site.territory.named(site.selected):
                self._claim(site, name, self.records.named(site.node, name, param, within=record), named=True)
        elif (outer := self._owner(site)) is not site:
            # Also a part of the module that has the list: `scales.0` of a module with a list `scales`.
            path = joined(relative_name(site.node.fqn, outer.node.fqn), name)
            record = self.records.param(outer.node, path, param)
            self._claim(outer, path, record)
            self._claim(site, name, record)
        else:
            self._claim(site, name, self.records.param(site.node, name, param))

    def _owner(self, site: Site) -> Site:
        """The module that has a list of parameters; any other module, and a list that is the model, is its own."""
        around = (above for above in reversed(self._sites) if not isinstance(above.node.module, CONTAINERS))
        return next(around, site)

    def _claim(self, site: Site, name: str, record: Record, *, named: bool = False) -> None:
        """Add what the rules that select a module give to one of its tensors."""
        fqn = f"{site.node.fqn}.{name}" if site.node.fqn else name
        self.param_names[name] += 1
        for bound, claim in site.territory.wishes(site.selected, name):
            if not named or bound.rule.names(name):
                bound.has_params = True
                record.claim(fqn, claim)
        module = site.node.module
        if name == "weight" and isinstance(module, EMBEDDINGS) and isinstance(module.padding_idx, int):
            record.pad(module._parameters.get(name), module.padding_idx)
        if site.territory.own is not None:
            record.own = site.territory.own
        record.kept = self.surroundings.why_kept(record.owner, record.tensors) or record.kept
