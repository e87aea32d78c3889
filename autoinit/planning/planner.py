"""The walk over a model that finds every tensor that can be filled, the rules that match it, and what runs besides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import nn

from ..initializers import Initializer, ModuleFunction
from ..parametrized import effective_weights
from ..rules import Rule
from .candidates import Candidate, Selection, Subtree
from .loads import plan_load
from .matches import OWN, Heads, Match, Rank, bind
from .own import has_own_init_weights, has_protocol, is_initialized, own_rules
from .records import Record, Records
from .resolver import Resolver
from .steps import ModuleCall, OwnInit, Step
from .surroundings import Surroundings
from .tree import Node, joined, relative_name, walk

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
CONTAINERS = (nn.ParameterList, nn.ParameterDict)


class Site(NamedTuple):
    """One path to one module, with the rules that select it."""

    node: Node
    subtree: Subtree
    selection: Selection


class Planner:
    """Everything that one walk over a model finds out: what `planned` decides on.

    Args:
        root: The model, on any device, meta included.
        configs: The rules of each config that was passed, outermost first.
        surroundings: What else to respect.

    Attributes:
        matches: The rules and overrides of all configs.
        records: The tensors that can be filled.
        modules: By FQN.
        steps: What runs besides fills.
        initialized: FQNs of modules in OpenMMLab's protocol whose `init_cfg` is carried out.
        census: How often each class occurs.
        param_names: How often each name of a parameter occurs.
    """

    def __init__(self, root: nn.Module, configs: Sequence[tuple[Rule, ...]], surroundings: Surroundings) -> None:
        self.root = root
        self.surroundings = surroundings
        self.matches: list[Match] = []
        self.records = Records()
        self.modules: dict[str, nn.Module] = {}
        self.resolver = Resolver(surroundings.policy.fan, self.modules)
        self.steps: list[Step] = []
        self.initialized: list[str] = []
        self.census: Counter[type] = Counter()
        self.param_names: Counter[str] = Counter()
        self.passed = len(configs)
        """How many configs were passed: they come first, and those of modules follow."""
        self._bound = 0
        self._loads: list[Heads] = []
        self._sites: list[Site] = []
        self._seen: set[int] = set()
        self._called: set[int] = set()
        self._own_rules: dict[int, tuple[Rule, ...]] = {}
        self._is_collected = False
        top = Node("", root, 0)
        self._top = tuple(
            match for depth, rules in enumerate(configs) for match in self._bind(rules, top, depth, passed=True)
        )

    def collect(self) -> None:
        """Walk the model, then read what checkpoints have for it, once.

        Args:
            executor: What applies the plan.

        Raises:
            ModuleGraphError, ConfigError, CheckpointError, ParametrizationError: The model or a rule is not fit for it.
        """
        if self._is_collected:
            return
        self._is_collected = True
        top = Subtree(self._top, closed=self.surroundings.rules_only)
        for node in walk(self.root):
            del self._sites[node.depth :]
            subtree = self._enter(node, self._sites[-1].subtree if self._sites else top)
            site = Site(node, subtree, subtree.selection(node))
            self._sites.append(site)
            self._visit(site)
            if self.surroundings.shallow:
                break
        for heads in self._loads:
            self._load(*heads)

    @property
    def has_own(self) -> bool:
        """Whether a module's own `init_weights` will run."""
        return any(isinstance(step, OwnInit) for step in self.steps)

    def is_passed(self, candidate: Candidate) -> bool:
        """Whether a candidate's config was passed. Its number, or depth, is lower than those of modules' own."""
        return abs(candidate.rank.config) < self.passed

    def _bind(self, rules: tuple[Rule, ...], node: Node, depth: int, *, passed: bool) -> Iterable[Match]:
        """The rules of a config that fill parameters, once calls of functions and loads were noted."""
        filling = []
        for match, nodes in bind(rules, node, number=self._bound, depth=depth, passed=passed):
            self.matches.append(match)
            scheme = match.rule.initializer
            if isinstance(scheme, Initializer):
                filling.append(match)
            elif isinstance(scheme, ModuleFunction):
                match.has_modules = match.has_params = bool(nodes)
                self.steps += (
                    ModuleCall(fqn=each.fqn, scheme=scheme, whole=match.is_override, rule=match.rule, rank=match.rank)
                    for each in nodes
                )
            else:
                self._loads.append(Heads(match, nodes))
        self._bound += 1
        return filling

    def _load(self, match: Match, nodes: Iterable[Node]) -> None:
        candidate = Candidate(match.rank, match.rule, None)
        for node in nodes:
            load, tensors, likely = plan_load(match, node)
            match.has_modules = True
            match.has_params |= bool(tensors or load.coded)
            self.steps.append(load)
            for tensor in likely.values():
                record = self.records.of(tensor)
                if record is not None and (record.load is None or record.load.rank < load.rank):
                    record.load = load
            # Once for a weight that is computed from several.
            found = {id(record): record for tensor in tensors.values() if (record := self.records.of(tensor))}
            for record in found.values():
                record.add(record.fqn, (candidate,))

    def _enter(self, node: Node, above: Subtree) -> Subtree:
        """What holds below a module: what holds above it, unless it has rules or an initialization of its own."""
        module = node.module
        if above.closed or id(module) in self.surroundings.carried_out:
            return above
        protocol = above.protocol or has_protocol(module)
        touchable = self.surroundings.may_touch(module)
        if touchable and self._runs_own(module, protocol):
            return self._own_subtree(node, above)
        if has_protocol(module):
            if is_initialized(module):
                return Subtree(above.matches, closed=True)
            if touchable:
                self.initialized.append(node.fqn)
        rules = self._rules_of(node) if touchable else ()
        own = tuple(self._bind(rules, node, self.passed + node.depth, passed=False)) if rules else ()
        return Subtree(above.matches + own, protocol=protocol) if own or protocol != above.protocol else above

    def _own_subtree(self, node: Node, above: Subtree) -> Subtree:
        """What holds below a module that initializes itself and everything in it."""
        module, asked = node.module, self.surroundings.asked or self.surroundings.policy.own_init == "run"
        if not (asked or above.matches or has_protocol(module)):
            return Subtree((), closed=True)  # Its init_weights is left to the code that builds the model.
        step = OwnInit(fqn=node.fqn, model=type(module).__name__, rank=Rank(OWN, len(self.steps), 0, 0))
        if id(module) not in self._called:
            self._called.add(id(module))
            self.steps.append(step)
        return Subtree(above.matches, closed=True, own=step)

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
        if about.policy.own_init == "skip" or id(module) in about.running:
            return False
        if not has_own_init_weights(module) or is_initialized(module):
            return False
        if about.policy.own_init == "run":
            return True
        return protocol if about.called is None else id(module) not in about.called

    def _visit(self, site: Site) -> None:
        node, module = site.node, site.node.module
        self.modules[node.fqn] = module
        if id(module) not in self._seen:
            self._seen.add(id(module))
            self.census[type(module)] += 1
        if module._forward_pre_hooks or "parametrizations" in module._modules:
            for weight in effective_weights(module):
                self._add(site, weight.name, self.records.weight(node, weight))
        for name, param in module._parameters.items():
            if param is not None:
                self._visit_param(site, name, param)
        for name in site.selection.named:
            buffer = module._buffers.get(name)
            if buffer is not None:
                self._add(site, name, self.records.named(node, name, buffer), named=True)

    def _visit_param(self, site: Site, name: str, param: nn.Parameter) -> None:
        record = self.records.of(param)
        if record is not None and record.weight is not None:
            # It follows the weight that is computed from it, unless a rule asks for it by name.
            if name in site.selection.named:
                self._add(site, name, self.records.named(site.node, name, param, within=record), named=True)
            return
        outer = self._owner(site) if isinstance(site.node.module, CONTAINERS) else site
        # In a list of parameters also a part of the module that has the list: `scales.0` with a list `scales`.
        path = joined(relative_name(site.node.fqn, outer.node.fqn), name) if outer is not site else name
        record = self.records.param(outer.node, path, param)
        self._add(outer, path, record)
        if outer is not site:
            self._add(site, name, record)

    def _owner(self, site: Site) -> Site:
        """The module that has a list of parameters; a list that is the model is its own."""
        around = (above for above in reversed(self._sites) if not isinstance(above.node.module, CONTAINERS))
        return next(around, site)

    def _add(self, site: Site, name: str, record: Record, *, named: bool = False) -> None:
        """Add what the rules that select a module give to one of its tensors."""
        self.param_names[name] += 1
        candidates = site.selection.candidates(name, named=named)
        if candidates:
            record.add(joined(site.node.fqn, name), candidates)
        module = site.node.module
        if name == "weight" and isinstance(module, EMBEDDINGS) and isinstance(module.padding_idx, int):
            record.pad(module._parameters.get(name), module.padding_idx)
        if site.subtree.own is not None:
            record.own = site.subtree.own
        record.kept = self.surroundings.why_kept(record.owner, record.tensors) or record.kept
