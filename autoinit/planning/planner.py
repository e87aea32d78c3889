"""The walk over a model that finds every tensor that can be filled, the rules that match it, and the steps to run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from ..initializers import Initializer, ModuleFunction
from ..layers import is_lazy
from ..parametrized import effective_weights
from ..rules import Rule
from .loads import plan_load
from .matches import OWN, Candidate, Match, Rank, bind
from .own import engine_of, has_own_init_weights, is_initialized, own_rules
from .policy import PlanContext
from .records import Record, Records
from .resolver import Resolver
from .steps import ModuleCall, OwnInit, Step
from .tree import Node, joined, relative_name, walk

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
CONTAINERS = (nn.ParameterList, nn.ParameterDict)


class Site(NamedTuple):
    """One path to one module, and the configs that apply there.

    Args:
        matches: The rules that fill parameters here and below.
        selected: Those of them that select the module.
        by_path: Those of them that may select parameters of the module by full names.
        closed: Whether modules below do not add rules of their own: an `init_weights` above is responsible for them.
        protocol: Whether the module or one above it derives from OpenMMLab's `BaseModule`, which calls `init_weights`.
        own: The call of a module's own `init_weights` that will run over everything here and below.
    """

    node: Node
    matches: tuple[Match, ...]
    selected: tuple[Match, ...] = ()
    by_path: tuple[Match, ...] = ()
    closed: bool = False
    protocol: bool = False
    own: OwnInit | None = None


class Planner:
    """What one walk over a model finds: the input of `planned`.

    Args:
        root: The model, on any device, meta included.
        configs: The rules of each config that was passed, outermost first.
        context: What else to respect.

    Attributes:
        initialized: FQNs of modules in OpenMMLab's protocol whose `init_cfg` is applied.
        passed: How many configs were passed: they come first, and those of modules follow.
    """

    def __init__(self, root: nn.Module, configs: Sequence[tuple[Rule, ...]], context: PlanContext) -> None:
        self.root = root
        self.context = context
        self.matches: list[Match] = []
        self.records = Records()
        self.modules: dict[str, nn.Module] = {}
        self.resolver = Resolver(context.policy.fan, self.modules, self.records)
        self.steps: list[Step] = []
        self.initialized: list[str] = []
        self.classes: Counter[type] = Counter()
        self.param_names: Counter[str] = Counter()
        self.passed = len(configs)
        self._bound = 0
        self._loads: list[tuple[Match, Sequence[Node]]] = []
        self._sites: list[Site] = []
        self._by_class: dict[tuple[tuple[Match, ...], type], tuple[Match, ...]] = {}
        self._found: dict[tuple[tuple[Match, ...], str, bool, int | None], tuple[Candidate, ...]] = {}
        self._reads_ndim = False
        self._own_inits: set[int] = set()
        self._own_rules: dict[int, tuple[Rule, ...]] = {}
        top: tuple[Match, ...] = ()
        for depth, rules in enumerate(configs):
            top += self._bind(rules, Node("", root, 0), depth, passed=True)
        self._top = Site(Node("", root, 0), top, closed=context.rules_only)

    def collect(self) -> None:
        """Walk the model, if that was not done yet, then read what checkpoints have for it.

        Raises:
            ModuleGraphError, ConfigError, CheckpointError, ParametrizationError: The model or a rule is not fit for it.
        """
        if self.modules:
            return
        seen: set[int] = set()
        for node in walk(self.root):
            self.modules[node.fqn] = node.module
            if id(node.module) not in seen:
                seen.add(id(node.module))
                self.classes[type(node.module)] += 1
            del self._sites[node.depth :]
            above = self._sites[-1] if self._sites else self._top
            site = self._select(self._enter(node, above), node, above.node.fqn)
            self._sites.append(site)
            self._visit(site)
            if self.context.shallow:
                break
        for match, nodes in self._loads:
            self._load(match, nodes)

    def _bind(self, rules: tuple[Rule, ...], node: Node, depth: int, *, passed: bool) -> tuple[Match, ...]:
        """The rules of a config that fill parameters; notes calls of functions and loads."""
        filling: tuple[Match, ...] = ()
        for match, nodes in bind(rules, node, number=self._bound, depth=depth, passed=passed):
            self.matches.append(match)
            self._reads_ndim |= bool(match.rule.ndim)
            scheme = match.rule.initializer
            if isinstance(scheme, Initializer):
                filling += (match,)
            elif isinstance(scheme, ModuleFunction):
                match.has_modules = match.has_params = match.uses_initializer = bool(nodes)
                for each in nodes:
                    whole = match.rank.override > 0
                    step = ModuleCall(fqn=each.fqn, scheme=scheme, whole=whole, rule=match.rule, rank=match.rank)
                    self.steps.append(step)
            else:
                self._loads.append((match, nodes))
        self._bound += 1
        return filling

    def _load(self, match: Match, nodes: Iterable[Node]) -> None:
        for node in nodes:
            load, tensors, likely = plan_load(match, node)
            if match.rule.selects_by_itself and load.is_empty:
                match.has_modules |= not match.rule.name
                continue
            match.has_modules = True
            match.has_params |= bool(tensors or load.coded)
            self.steps.append(load)
            for tensor in likely.values():
                record = self.records.by_id.get(id(tensor))
                if record is not None and (record.load is None or record.load.rank < load.rank):
                    record.load = load
            found = filter(None, (self.records.by_id.get(id(tensor)) for tensor in tensors.values()))
            # Once for a parametrized weight with several stored tensors.
            for record in {id(record): record for record in found}.values():
                record.candidates += (Candidate(match.rank, match.rule, None),)

    def _enter(self, node: Node, above: Site) -> Site:
        """The site above a module, changed to the configs that apply to it and below it."""
        module, context = node.module, self.context
        if above.closed or id(module) in context.applied_within:
            return above
        cls: type = type(module)
        touchable = context.may_touch(module)
        is_engine = engine_of(cls) is not None
        protocol = above.protocol or is_engine
        if touchable and self._runs_own(module, protocol):
            if not (context.has_rules or context.policy.own_init == "run" or above.matches or is_engine):
                # Its init_weights is left to the code that builds the model.
                return above._replace(matches=(), closed=True)
            step = OwnInit(fqn=node.fqn, model=cls.__name__, rank=Rank(OWN, len(self.steps), 0, 0))
            if id(module) not in self._own_inits:
                self._own_inits.add(id(module))
                self.steps.append(step)
            return above._replace(closed=True, own=step)
        if is_engine and is_initialized(module):
            return above._replace(closed=True)
        if is_engine and touchable:
            self.initialized.append(node.fqn)
        # The same objects on every path to it.
        rules = (self._own_rules.get(id(module)) or own_rules(module, node.fqn)) if touchable else ()
        if not rules:
            return above._replace(protocol=protocol)
        self._own_rules[id(module)] = rules
        own = self._bind(rules, node, self.passed + node.depth, passed=False)
        return above._replace(matches=above.matches + own, protocol=protocol)

    def _select(self, site: Site, node: Node, above: str) -> Site:
        """The site of a module, with the rules that may select its parameters; `above` is the module around it."""
        for match in site.matches:
            if match.rule.within:
                match.enter(node, above)
        key = site.matches, type(node.module)
        found = self._by_class.get(key)
        if found is None:
            found = self._by_class[key] = tuple([match for match in site.matches if match.selects_class(key[1])])
        by_path: tuple[Match, ...] = ()
        if any(match.by_place or match.by_path for match in found):
            by_path = tuple([match for match in found if match.by_path])
            found = tuple([match for match in found if not match.by_path and match.selects_node(node)])
        for match in found:
            match.has_modules = True
        for match in by_path:
            match.has_modules |= match.selects_node(node)
        return site._replace(node=node, selected=found, by_path=by_path)

    def _gives(self, site: Site, param: str, tensor: Tensor | Record, *, named: bool) -> tuple[Candidate, ...]:
        """What rules give to a parameter of that name; `named`: only those that ask for it by name.

        One object for all parameters of that name in modules that the same rules select.
        """
        ndim = _ndim(tensor) if self._reads_ndim else None
        key = site.selected, param, named, ndim
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = _candidates(site.selected, site.node, param, ndim, named=named)
        return found + _candidates(site.by_path, site.node, param, ndim, named=named) if site.by_path else found

    def _runs_own(self, module: nn.Module, protocol: bool) -> bool:
        """Whether to call a module's own `init_weights`; `protocol`: OpenMMLab's `BaseModule` would call it."""
        context = self.context
        if context.policy.own_init == "skip" or id(module) in context.running:
            return False
        if not has_own_init_weights(module) or is_initialized(module):
            return False
        if context.policy.own_init == "run":
            return True
        return protocol if context.called is None else id(module) not in context.called

    def _visit(self, site: Site) -> None:
        """Add the tensors of a module."""
        node, module = site.node, site.node.module
        if module._forward_pre_hooks or "parametrizations" in module._modules:
            for weight in effective_weights(module):
                self._add(site, weight.name, self.records.weight(node, weight))
        for name, param in module._parameters.items():
            if param is None:
                continue
            record = self.records.by_id.get(id(param))
            if record is not None and record.weight is not None:
                # It follows the weight that is computed from it, unless a rule asks for it by name.
                if self._gives(site, name, param, named=True):
                    self._add(site, name, self.records.get_or_add(node, name, param, record), named=True)
            elif not isinstance(module, CONTAINERS):
                self._add(site, name, self.records.param(node, name, param))
            else:
                # The list is a part of the module that has it, if any: `scales.0`, with a list `scales`.
                around = (above for above in reversed(self._sites) if not isinstance(above.node.module, CONTAINERS))
                outer = next(around, site)
                path = joined(relative_name(node.fqn, outer.node.fqn), name)
                record = self.records.param(outer.node, path, param)
                self._add(outer, path, record)
                if outer is not site:
                    self._add(site, name, record)
        for name, buffer in module._buffers.items() if site.selected or site.by_path else ():
            if buffer is not None and self._gives(site, name, buffer, named=True):
                self._add(site, name, self.records.get_or_add(node, name, buffer), named=True)

    def _add(self, site: Site, name: str, record: Record, *, named: bool = False) -> None:
        """Add the rules that select a module to one of its tensors."""
        self.param_names[name] += 1
        candidates, fqn = self._gives(site, name, record, named=named), joined(site.node.fqn, name)
        if fqn == record.fqn:
            record.candidates += candidates
        else:
            record.alias_candidates += tuple((fqn, candidate) for candidate in candidates)
        module = site.node.module
        if name == "weight" and isinstance(module, EMBEDDINGS) and isinstance(module.padding_idx, int):
            record.pad(module._parameters.get(name), module.padding_idx)
        if site.own is not None:
            record.own = site.own
        record.kept = self.context.why_kept(record.owner, record.tensors) or record.kept


def _candidates(
    matches: Iterable[Match], node: Node, param: str, ndim: int | None, *, named: bool
) -> tuple[Candidate, ...]:
    each = [match.candidate(node, param, ndim, named=named) for match in matches]
    return tuple(filter(None, each))


def _ndim(tensor: Tensor | Record) -> int | None:
    """The number of dimensions of a tensor; None while it is lazy, when any number may fit."""
    if isinstance(tensor, Record):
        shape, _ = tensor.shape_and_dtype()
        return None if shape is None else len(shape)
    return None if is_lazy(tensor) else tensor.dim()
