"""What planning respects besides rules: what was built, loaded or filled before, and the user's options."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Set
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from .._torch import is_fake
from ..construction import Content
from .entries import Entry
from .policy import Policy

COPY_OF = "copy of "


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What planning respects besides rules.

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
        policy: The user's options.
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
    policy: Policy = field(default_factory=Policy)

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
        if self.taken and any(id(tensor) in self.taken for tensor in tensors):
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
