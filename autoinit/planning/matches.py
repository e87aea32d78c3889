"""The rules of a config in one model: which modules they select, and with what precedence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import nn

from ..errors import TargetError, nearest
from ..globs import fqn_pattern, is_plain
from ..initializers import Initializer, Pretrained
from ..layers import is_layer
from ..rules import UNSET, Rule
from .name_hints import moved_hint, name_hint
from .tree import Node, joined, relative_name, unwrapped, walk

RULES, OWN, INNER, LOADS = range(4)
"""Levels: configs' rules; modules' own `init_weights`; what an inner block filled; checkpoints (P1-P4)."""


class Rank(NamedTuple):
    """The precedence of a rule: of two ranks, compared from the left, the higher one wins.

    `config` counts configs in the order of the walk, parents first (P2); for checkpoints it is minus the depth of the
    config, so that the outer one wins (P4). `override` is 0 for the rule itself.
    """

    level: int
    config: int
    rule: int
    override: int


NO_RANK = Rank(RULES, 0, 0, 0)


class Candidate(NamedTuple):
    """A rule that matches a parameter; no initializer for what a checkpoint supplies."""

    rank: Rank
    rule: Rule
    initializer: Initializer | None


@dataclass(eq=False, kw_only=True)
class Match:
    """One rule or override in one model, and what it has matched so far. It holds names and ids, no modules.

    Args:
        base: FQN of the module that carries the config.
        passed: Whether the user passed the config, rather than a module carrying it as its own `init_cfg`.
        targets: The ids of the modules that an override is for; None for a rule.
        globs: Patterns of the rule's `name` that match modules.
        named: Patterns of its `name` that match no module: they mean parameters.
        by_place: Whether `name`, `within` or an override's target decides, and not only the class of a module.
        by_path: Whether parameters are selected by full names.
        inside: FQNs of the modules so far that `within` is met by, themselves or through an ancestor.
        gives_bias: Whether a parameter gets the rule's `bias`.
        other_ndims: Numbers of dimensions of the parameters that only `ndim` leaves out.
        missing: The error for a target that does not exist.
        uses_initializer: Whether a parameter gets the rule's own initializer, and not the constant of a bias.
        is_empty: Whether an override's targets have no parameters at all.
        lost: The globs of a list that match no module; for each whether that must be a mistake, None if it says little.
        hint: A remedy for the message if a `name` matches nothing, or only modules without parameters.
    """

    rule: Rule
    rank: Rank
    base: str
    passed: bool
    targets: frozenset[int] | None = None
    globs: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    by_place: bool = False
    by_path: bool = False
    inside: set[str] = field(default_factory=set)
    gives_bias: bool = False
    other_ndims: set[int] = field(default_factory=set)
    missing: TargetError | None = None
    has_modules: bool = False
    has_params: bool = False
    uses_initializer: bool = False
    is_empty: bool = False
    lost: Mapping[str, bool | None] = field(default_factory=dict)
    hint: str = ""

    def selects_class(self, cls: type) -> bool:
        """Whether modules of a class may be selected; `selects_node` decides which of them are."""
        if self.targets is None and not self.rule.selects_by_itself:
            return False
        return not self.rule.layer or any(is_layer(cls, layer) for layer in self.rule.layer)

    def selects_node(self, node: Node) -> bool:
        """Whether a module of a selected class is selected by its place."""
        if self.rule.within and node.fqn not in self.inside:
            return False
        if self.targets is not None:
            return id(node.module) in self.targets
        name = relative_name(node.fqn, self.base)
        return not self.rule.name or any(fqn_pattern(pattern)(name) for pattern in self.globs)

    @property
    def is_for_weights(self) -> bool:
        """Whether a rule of the user is meant for weights: it names neither parameters nor a bias."""
        rule = self.rule
        says_nothing = rule.params is None and rule.bias is UNSET and isinstance(rule.initializer, Initializer)
        return self.passed and says_nothing

    def enter(self, node: Node, above: str) -> None:
        """Note whether a module meets `within`; `above` is the FQN of the module that has it."""
        if above in self.inside or any(is_layer(type(node.module), layer) for layer in self.rule.within):
            self.inside.add(node.fqn)

    def candidate(self, node: Node, param: str, ndim: int | None, *, named: bool) -> Candidate | None:
        """What the rule gives to a parameter of a module of a selected class, if it has `ndim` dimensions.

        None stands for any `ndim`; if `named`, the rule has to ask for the parameter by name.
        """
        rule = self.rule
        fqns: tuple[str, ...] = ()
        path = relative_name(node.fqn, self.base) if self.by_path else ""
        scheme = rule.scheme_for(param, path) if not self.by_place or self.selects_node(node) else None
        if scheme is None and self.named and (not rule.within or node.fqn in self.inside):
            scheme, fqns = rule.scheme_for(param, path, self.named), self.named
        if scheme is None or (named and not rule.names(param, path, fqns)):
            return None
        if ndim is not None and not rule.fits(ndim):
            self.other_ndims.add(ndim)
            return None
        self.has_modules = self.has_params = True
        self.gives_bias |= scheme is not rule.initializer
        self.uses_initializer |= scheme == rule.initializer
        return Candidate(self.rank, rule, scheme)


def bind(
    rules: Iterable[Rule], node: Node, *, number: int, depth: int, passed: bool
) -> Iterator[tuple[Match, Sequence[Node]]]:
    """The rules of a config and their overrides, in rising precedence within each level.

    Each comes with the modules that it is for as wholes: the one that carries the config (`node`), or the override's
    targets. `number` is that of the config in the order of the walk, `depth` is 0 for the outermost config.
    """
    rules = tuple(rules)
    paths = {below.fqn for below in walk(node.module)} if any(rule.name for rule in rules) else set()
    for index, top in enumerate(rules):
        loads = False
        for place, rule in enumerate((top, *top.override)):
            # An override of a checkpoint beats it, and so does each that follows an override with one.
            loads = loads or loads_rule(rule)
            rank = Rank(LOADS, -depth, index, place) if loads else Rank(RULES, number, index, place)
            match = Match(rule=rule, rank=rank, base=node.fqn, passed=passed)
            match.by_place = bool(place or rule.name or rule.within)
            if not place:
                is_module = [
                    name in paths if is_plain(name) else any(map(fqn_pattern(name), paths)) for name in rule.name
                ]
                match.globs = tuple(name for name, found in zip(rule.name, is_module, strict=True) if found)
                match.named = tuple(name for name, found in zip(rule.name, is_module, strict=True) if not found)
            match.by_path = bool(match.named or rule.has_full_params)
            yield match, _targets(match, node) if place else [node]


def _targets(match: Match, node: Node) -> Sequence[Node]:
    """Find the targets of an override; if it does not fill parameters, also under which names it has to run."""
    rule = match.rule
    heads: list[nn.Module] = []
    for pattern in rule.name:
        try:
            heads += find_targets(node, pattern)
        except TargetError as error:
            found = TargetError(f"{rule.origin}.{error}", origin=f"{rule.origin}.name", fqn=pattern)
            match.missing = match.missing or found
    match.targets = frozenset(id(below.module) for head in heads for below in walk(head))
    if isinstance(rule.initializer, Initializer):
        return []
    first: dict[int, Node] = {}
    for below in walk(node.module):
        first.setdefault(id(below.module), below._replace(fqn=joined(node.fqn, below.fqn)))
    wanted = set(map(id, heads))
    return [below for key, below in first.items() if key in wanted]


def find_targets(node: Node, pattern: str) -> Sequence[nn.Module]:
    """The modules that the `name` of an override means, seen from the module that carries the config.

    A plain name is an attribute, properties included; a dotted one a chain of those; a glob runs over FQNs.

    Raises:
        TargetError: There is none, or it is not a module.
    """
    base = unwrapped(node.module)
    name = type(base).__name__
    below = [child for child in walk(base) if child.fqn]
    fqns = [child.fqn for child in below]
    if not is_plain(pattern):
        found = [child.module for child in below if fqn_pattern(pattern)(child.fqn)]
        if not found:
            raise TargetError(f"name: {pattern!r} matches no module of {name}.{moved_hint(pattern, fqns, fqns)}")
        return found
    target: object = base
    try:
        for part in pattern.split("."):
            target = getattr(target, part)
    except AttributeError as error:
        # A long dotted name is nearest to other long ones; the last component is what people mistype.
        hint = name_hint(pattern, fqns, fqns) or nearest(part, fqns)
        raise TargetError(f"name: {name} has no submodule {pattern!r}.{hint}") from error
    if not isinstance(target, nn.Module):
        raise TargetError(
            f"name: {pattern!r} of {name} is a {type(target).__name__}, not a module. "
            "For a parameter use a rule with params=."
        )
    return [target]


def loads_rule(rule: Rule) -> bool:
    """Whether a rule reads a checkpoint."""
    return isinstance(rule.initializer, Pretrained)


def can_reach(rules: Sequence[Rule], modules: Iterable[nn.Module]) -> bool:
    """Whether a rule may select one of the modules, or a module has rules or an initialization of its own."""
    classes: set[type] = set()
    for module in modules:
        if "init_cfg" in module.__dict__ or hasattr(type(module), "init_weights") or hasattr(type(module), "init_cfg"):
            return True
        classes.add(type(module))
    for rule in rules:
        if rule.override or not isinstance(rule.initializer, Initializer):
            return True
        if not rule.layer and rule.selects_by_itself:
            return True
        if any(is_layer(cls, layer) for cls in classes for layer in rule.layer):
            return True
    return False
