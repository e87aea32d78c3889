"""What the rules that select a module give to its parameters."""

from __future__ import annotations

from typing import NamedTuple

from ..globs import is_plain
from ..initializers import Initializer
from ..rules import Rule
from .matches import Match, Rank
from .steps import OwnInit
from .tree import Node


class Candidate(NamedTuple):
    """A rule that matches a parameter; no initializer for what a checkpoint supplies."""

    rank: Rank
    rule: Rule
    initializer: Initializer | None


class Selection:
    """The rules that select some modules, in rising precedence within each config."""

    def __init__(self, matches: tuple[Match, ...]) -> None:
        self.matches = matches
        self.named: set[str] = set()
        """The parameters that rules ask for by name, not by a pattern or by default."""
        self._candidates: dict[tuple[str, bool], tuple[Candidate, ...]] = {}
        for match in matches:
            match.has_modules = True
            self.named.update(filter(is_plain, match.rule.params or ()))

    def candidates(self, param: str, *, named: bool) -> tuple[Candidate, ...]:
        """What the rules give to a parameter of that name; `named`: only those that ask for it by name."""
        found = self._candidates.get((param, named))
        if found is None:
            found = ()
            for match in self.matches:
                scheme = match.rule.scheme_for(param)
                if scheme is not None and (not named or match.rule.names(param)):
                    match.has_params = True
                    found += (Candidate(match.rank, match.rule, scheme),)
            self._candidates[param, named] = found
        return found


class Subtree:
    """The configs above a module, for the module and everything below it.

    Args:
        matches: The rules that fill parameters.
        closed: Whether modules below do not add rules of their own: an `init_weights` above is responsible for them.
        protocol: Whether this module or one above it derives from OpenMMLab's `BaseModule`, which calls `init_weights`.
        own: The call of a module's own `init_weights` that will run over everything here.
    """

    def __init__(
        self, matches: tuple[Match, ...], *, closed: bool = False, protocol: bool = False, own: OwnInit | None = None
    ) -> None:
        self.matches = matches
        self.closed = closed
        self.protocol = protocol
        self.own = own
        self._of_class: dict[type, tuple[Match, ...]] = {}
        self._selections: dict[tuple[Match, ...], Selection] = {}

    def selection(self, node: Node) -> Selection:
        """The rules that select a module: one object for all modules that the same rules select."""
        cls = type(node.module)
        matches = self._of_class.get(cls)
        if matches is None:
            matches = self._of_class[cls] = tuple([match for match in self.matches if match.selects_class(cls)])
        if any(match.targets is not None or match.rule.name for match in matches):
            matches = tuple([match for match in matches if match.selects_node(node)])
        found = self._selections.get(matches)
        if found is None:
            found = self._selections[matches] = Selection(matches)
        return found
