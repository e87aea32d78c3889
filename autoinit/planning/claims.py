"""Rules' wishes for parameters, while a model is walked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from .._torch import is_fake
from ..construction import Content
from ..globs import is_plain
from ..initializers import Initializer
from ..rules import Rule
from ..sampling import VERSION
from .binding import Bound, Rank
from .entries import Entry
from .policy import Fan, OwnInitMode
from .steps import OwnInit
from .tree import Node


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What planning has to respect besides rules.

    Args:
        built: ids of the modules that were built in the block; None for a model that exists already.
        final: ids of the modules whose values must not change any more.
        content: what a tensor holds, by the construction record; None if nothing was recorded.
        taken: ids of the parameters that belong to an earlier root of the block, too.
        settled: by id, the entries of parameters that an inner block has filled already.
        carried_out: ids of the modules whose own rules and `init_weights` an inner block has carried out.
        called: ids of the modules whose `init_weights` has run in the block; None for a model that exists already.
        asked: whether anything was asked for: blocks without rules leave a module's own `init_weights` alone.
        running: ids of the modules whose `init_weights` is being run right now.
        rules_only: whether what modules say themselves (`init_cfg`, `init_weights`) is left out.
        shallow: whether the modules inside the model are left out.
        fan: whose reading of a weight's axes counts where a rule does not say.
        own_init: Whether to call modules' own `init_weights()`.
        version: the definition of random values.
    """

    built: Container[int] | None = None
    final: Container[int] = ()
    content: Callable[[torch.Tensor], Content | None] | None = None
    taken: Set[int] = frozenset()
    settled: Mapping[int, Entry] = field(default_factory=dict)
    carried_out: Container[int] = ()
    called: Container[int] | None = None
    asked: bool = True
    running: Container[int] = ()
    rules_only: bool = False
    shallow: bool = False
    fan: Fan = "auto"
    own_init: OwnInitMode = "auto"
    version: int = VERSION

    def may_touch(self, module: nn.Module) -> bool:
        """Whether a module is there to be initialized."""
        return (self.built is None or id(module) in self.built) and id(module) not in self.final

    def is_unwritten(self, tensors: Collection[torch.Tensor]) -> bool:
        """Whether nothing has ever been written to these tensors; one without elements needs nothing."""
        if self.content is None:
            return False
        stored = (each for each in tensors if not is_lazy(each) and not each.is_meta and each.numel())
        return any(self.content(each) is None for each in stored)

    def why_kept(self, module: nn.Module, tensors: Collection[torch.Tensor]) -> str | None:
        """Why what these tensors hold must be left alone, if it must."""
        if id(module) in self.final:
            return "final since its first call"
        if self.built is not None and id(module) not in self.built:
            return "built outside the block"
        if self.content is not None:
            for tensor in tensors:
                if is_fake(tensor):
                    return "a FakeTensor without memory"
                held = None if is_lazy(tensor) or tensor.is_meta else self.content(tensor)
                if held is not None and held.is_data:
                    return held.describe()
        if self.taken and _any_of(tensors, self.taken):
            return "shared with an earlier root of the block"
        return None


def may_overwrite(kept: str) -> bool:
    """Whether `overwrite=True` fills what is kept for this reason.

    Example:
        >>> (
        ...     may_overwrite("data (torch.load, train.py:88)"),
        ...     may_overwrite("built outside the block"),
        ... )
        (True, False)
    """
    return kept.startswith(("data", COPY_OF))


COPY_OF = "copy of "


def _any_of(tensors: Collection[torch.Tensor], ids: Set[int]) -> bool:
    return any(id(tensor) in ids for tensor in tensors)


class Claim(NamedTuple):
    """A rule's wish for one parameter; no scheme for what a checkpoint supplies."""

    rank: Rank
    rule: Rule
    scheme: Initializer | None


class Wish(NamedTuple):
    """What one rule gives to parameters of one name in the modules it selects."""

    bound: Bound
    claim: Claim


class Territory:
    """What holds for a module and everything below it, because of the configs above."""

    def __init__(
        self, bounds: tuple[Bound, ...], *, closed: bool = False, protocol: bool = False, own: OwnInit | None = None
    ) -> None:
        self.bounds = bounds
        self.closed = closed
        """A module's own `init_weights` is responsible for everything here, as in the original."""
        self.protocol = protocol
        """Whether this module or one above it derives from OpenMMLab's `BaseModule`, which calls `init_weights`."""
        self.own = own
        """The call of a module's own `init_weights` that will run over everything here."""
        self._of_class: dict[type, tuple[Bound, ...]] = {}
        self._wishes: dict[tuple[tuple[Bound, ...], str], tuple[Wish, ...]] = {}
        self._named: dict[tuple[Bound, ...], frozenset[str]] = {}

    def selected(self, node: Node) -> tuple[Bound, ...]:
        """The rules that select a module, in rising precedence."""
        cls = type(node.module)
        of_class = self._of_class.get(cls)
        if of_class is None:
            of_class = self._of_class[cls] = tuple(bound for bound in self.bounds if bound.selects_class(cls))
        for bound in of_class:
            if bound.is_particular:
                return tuple(bound for bound in of_class if bound.selects_node(node))
        return of_class

    def wishes(self, selected: tuple[Bound, ...], param: str) -> tuple[Wish, ...]:
        """What rules that select a module give to a parameter of that name."""
        found = self._wishes.get((selected, param))
        if found is None:
            schemes = ((bound, bound.rule.scheme_for(param)) for bound in selected)
            found = tuple(Wish(b, Claim(b.rank, b.rule, scheme)) for b, scheme in schemes if scheme is not None)
            self._wishes[selected, param] = found
        return found

    def named(self, selected: tuple[Bound, ...]) -> frozenset[str]:
        """The parameters that rules which select a module ask for by name, not by a pattern or by default."""
        found = self._named.get(selected)
        if found is None:
            found = frozenset(name for bound in selected for name in bound.rule.params or () if is_plain(name))
            self._named[selected] = found
        return found
