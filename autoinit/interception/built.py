"""The modules that were built in one block, in order, without keeping them alive."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from ..planning import PARALLEL


class BuiltModules:
    """Weak references to the modules of a block in the order of their construction, with what happened to each.

    Attributes:
        called: Ids of the modules whose `init_weights` has run.
        carried_out: Ids of the modules whose own rules and `init_weights` an inner block has carried out.
        final: Ids of the modules whose values must not change any more: they have been used.
    """

    def __init__(self) -> None:
        self._born: dict[int, weakref.ref[nn.Module]] = {}
        self.called: set[int] = set()
        self.carried_out: set[int] = set()
        self.final: set[int] = set()

    def add(self, module: nn.Module) -> None:
        """Record that a module is being built."""
        # Perhaps again: a torch.compile inside a block leaves a wrapper of ours inside torch's, and some classes have
        # two bases that both call nn.Module.__init__.
        key = id(module)
        born = self._born.get(key)
        if born is not None:
            if born() is module:
                return
            self._forget(key)
        self._born[key] = weakref.ref(module)

    def _forget(self, key: int) -> None:
        """Drop what happened to a module that is gone, whose id another one has got."""
        del self._born[key]
        for marks in (self.called, self.carried_out, self.final):
            marks.discard(key)

    def add_copy(self, copy: nn.Module, original: nn.Module) -> None:
        """Record a copy of a recorded module."""
        self.add(copy)
        for marks in (self.called, self.final):
            if id(original) in marks:
                marks.add(id(copy))

    @property
    def is_empty(self) -> bool:
        """Whether no module was ever recorded."""
        return not self._born

    def __iter__(self) -> Iterator[nn.Module]:
        modules = (born() for born in list(self._born.values()))  # Other threads may add to it meanwhile.
        return (module for module in modules if module is not None)

    def __contains__(self, module: object) -> bool:
        born = self._born.get(id(module))
        return born is not None and born() is module

    def roots(self) -> list[nn.Module]:
        """Modules that are not final, are part of no other one, and hold a parameter or buffer: not activations."""
        modules = [module for module in self if "_modules" in module.__dict__ and id(module) not in self.final]
        inside = {id(part) for part in parts_of(modules)}
        return [module for module in modules if id(module) not in inside and self._is_model(module)]

    def _is_model(self, module: nn.Module) -> bool:
        # A model that is final has its report already: a module that only runs it in parallel is no other model.
        done = self.final if is_parallel(module) else ()
        parts = (part for group in ([module], parts_of([module])) for part in group if id(part) not in done)
        return stands_alone(module) and any(part._parameters or part._buffers for part in parts)


def parts_of(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """What is inside of some modules, each once, also by way of modules that are none of them.

    Example:
        >>> inner, outer = nn.Linear(1, 1), nn.Sequential(nn.Sequential(nn.ReLU()))
        >>> outer[0].append(inner) is outer[0], inner in list(parts_of([outer, inner]))
        (True, True)
    """
    waiting, found = list(modules), set[int]()
    for module in waiting:  # It grows.
        for child in module._modules.values():
            if child is not None and id(child) not in found:
                found.add(id(child))
                waiting.append(child)
                yield child


def is_parallel(module: nn.Module) -> bool:
    """Whether a module only runs a model in parallel."""
    return not PARALLEL.isdisjoint(base.__name__ for base in type(module).__mro__)


def stands_alone(module: nn.Module) -> bool:
    """Whether a module can be a model: not the parametrizations of one that was built elsewhere."""
    parts = [module, *module._modules.values()] if isinstance(module, nn.ModuleDict) else [module]
    return not any(isinstance(part, ParametrizationList) for part in parts)
