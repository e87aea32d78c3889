"""Rules bound to the module that carries them: which modules below it they select, with what precedence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from ..errors import TargetError, nearest
from ..globs import fqn_pattern, is_plain
from ..initializers import Initializer, Pretrained
from ..layers import is_layer
from ..rules import Rule
from .tree import Node, joined, walk, wraps

Rank = tuple[int, int, int, int]
"""Order of precedence, higher wins: (level, order of the config, index of the rule, index of its override + 1)."""

RULES, OWN, SETTLED, LOADS = range(4)
"""Levels: configs' rules; modules' own `init_weights`; what an inner block filled; checkpoints (P1-P4)."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One config and the module that carries it.

    Args:
        rules: in the config's order.
        node: the carrier.
        order: of the walk, in which parents come before children: a later config wins (P2).
        depth: 0 for the outermost config: of two checkpoints the outer one wins (P4).
        passed: whether the user passed it, rather than a module carrying it as its own `init_cfg`.
    """

    rules: tuple[Rule, ...]
    node: Node
    order: int
    depth: int
    passed: bool


@dataclass(eq=False, kw_only=True)
class Bound:
    """One rule, or one override, of a source, and what it has matched so far."""

    rule: Rule
    source: Source
    rank: Rank
    heads: tuple[nn.Module, ...]
    """The module that carries the config, or those that an override names."""
    targets: frozenset[int] | None = None
    """Modules an override is for, by id; None for a rule that selects for itself."""
    missing: tuple[TargetError, ...] = ()
    has_modules: bool = False
    """Whether it has selected a module, and a parameter of one."""
    has_params: bool = False

    def selects_class(self, cls: type) -> bool:
        """What can be said of a class at large; the rest is `selects_node`."""
        if self.targets is None and not self.rule.selects_by_itself:
            return False
        return not self.rule.layer or any(is_layer(cls, layer) for layer in self.rule.layer)

    def selects_node(self, node: Node) -> bool:
        """Whether a module of a selected class is selected by its name or as a part of the override's target."""
        if self.targets is not None:
            return id(node.module) in self.targets
        if not self.rule.name:
            return True
        relative = relative_name(node.fqn, self.source.node.fqn)
        return any(fqn_pattern(pattern)(relative) for pattern in self.rule.name)

    def head_nodes(self) -> Iterator[Node]:
        """The module that carries the config, or those that an override names, each under its first name."""
        base, wanted = self.source.node, set(map(id, self.heads))
        for node in walk(base.module):
            if id(node.module) in wanted:
                wanted.remove(id(node.module))
                yield node._replace(fqn=joined(base.fqn, node.fqn))
            if not wanted:
                return

    @property
    def is_override(self) -> bool:
        return self.targets is not None

    @property
    def is_particular(self) -> bool:
        """Whether it selects some modules of a class and not others."""
        return self.targets is not None or bool(self.rule.name)


def relative_name(fqn: str, base: str) -> str:
    """An FQN as seen from one of its ancestors."""
    return fqn[len(base) + 1 :] if base else fqn


def bind(source: Source) -> Iterator[Bound]:
    """The rules of a source and their overrides, in rising precedence within each level."""
    for index, rule in enumerate(source.rules):
        loads = isinstance(rule.initializer, Pretrained)
        level, order = (LOADS, -source.depth) if loads else (RULES, source.order)
        yield Bound(rule=rule, source=source, rank=(level, order, index, 0), heads=(source.node.module,))
        for number, override in enumerate(rule.override, 1):
            if isinstance(override.initializer, Pretrained):
                level, order = LOADS, -source.depth
            yield _bind_override(override, source, (level, order, index, number))


def _bind_override(rule: Rule, source: Source, rank: Rank) -> Bound:
    heads: list[nn.Module] = []
    missing = []
    for pattern in rule.name:
        try:
            heads += find_targets(source.node, pattern)
        except TargetError as error:
            missing.append(TargetError(f"{rule.origin}.{error}", origin=f"{rule.origin}.name", fqn=pattern))
    targets = frozenset(id(node.module) for head in heads for node in walk(head))
    return Bound(rule=rule, source=source, rank=rank, heads=tuple(heads), targets=targets, missing=tuple(missing))


def find_targets(node: Node, pattern: str) -> Sequence[nn.Module]:
    """The modules that the `name` of an override means, seen from the module that carries the config.

    A plain name is an attribute, properties included; a dotted one a chain of those; a glob runs over FQNs.

    Raises:
        TargetError: there is none, or it is not a module.
    """
    base = unwrapped(node.module)
    if not is_plain(pattern):
        found = [child.module for child in walk(base) if child.fqn and fqn_pattern(pattern)(child.fqn)]
        if not found:
            raise TargetError(f"name: {pattern!r} matches no module of {type(base).__name__}.")
        return found
    target: object = base
    for part in pattern.split("."):
        try:
            target = getattr(target, part)
        except AttributeError as error:
            names = [child.fqn for child in walk(base) if child.fqn]
            # A long dotted name is nearest to whatever is long; the last component is what people mistype.
            hint = nearest(pattern, names) or nearest(part, names)
            raise TargetError(f"name: {type(base).__name__} has no submodule {pattern!r}.{hint}") from error
    if not isinstance(target, nn.Module):
        raise TargetError(
            f"name: {pattern!r} of {type(base).__name__} is a {type(target).__name__}, not a module. "
            "For a parameter use a rule with params=."
        )
    return [target]


def unwrapped(module: nn.Module) -> nn.Module:
    """The model inside wrappers such as DistributedDataParallel or a compiled module."""
    while True:
        inner = next((child for name, child in module._modules.items() if name in wraps(module) and child), None)
        if inner is None:
            return module
        module = inner


def fills_parameters(bound: Bound) -> bool:
    """Whether a rule gives fills to parameters, rather than loading or calling something."""
    return isinstance(bound.rule.initializer, Initializer)
