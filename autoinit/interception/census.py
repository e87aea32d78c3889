"""The modules that were built in one block, in order, without keeping them alive."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Container, Iterable, Iterator

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from ..planning import PARALLEL


class Census:
    """Weak references to modules, with what happened to each.

    Recording is on the path of every module's construction: it appends to a list, and an index is made when asked for.
    """

    def __init__(self) -> None:
        self._born: list[weakref.ref[nn.Module]] = []
        self._index: dict[int, int] = {}
        self._indexed = 0
        self._lock = threading.Lock()
        self.called: set[int] = set()
        self.carried_out: set[int] = set()
        self.final: set[int] = set()

    def add(self, module: nn.Module) -> None:
        """Record that a module is being built."""
        # Perhaps again: a torch.compile inside a block leaves a wrapper of ours inside torch's, and some classes have
        # two bases that both call nn.Module.__init__. Whoever reads goes by identity.
        self._born.append(weakref.ref(module))

    def add_copy(self, copy: nn.Module, original: nn.Module) -> None:
        """Record a copy of a recorded module."""
        self.add(copy)
        for marks in (self.called, self.final):
            if id(original) in marks:
                marks.add(id(copy))

    @property
    def total(self) -> int:
        """How many modules were ever recorded."""
        return len(self._born)

    def __iter__(self) -> Iterator[nn.Module]:
        for born in self._born:
            module = born()
            if module is not None:
                yield module

    def __contains__(self, module: object) -> bool:
        with self._lock:
            while self._indexed < len(self._born):
                born = self._born[self._indexed]()
                if born is not None:
                    self._enter(born, self._indexed)
                self._indexed += 1
        at = self._index.get(id(module))
        return at is not None and self._born[at]() is module

    def _enter(self, module: nn.Module, position: int) -> None:
        key = id(module)
        known = self._index.get(key)
        if known is not None and self._born[known]() is not module:
            # An id is free again when its module is gone, and what happened to that one is none of this one's.
            self.called.discard(key)
            self.carried_out.discard(key)
            self.final.discard(key)
            known = None
        if known is None:
            self._index[key] = position

    def open_modules(self) -> list[nn.Module]:
        """The recorded modules that are still to be initialized, in the order of their construction."""
        # By id, because nn.Module.__init__ runs twice for some, by way of two base classes.
        modules = {id(module): module for module in self if "_modules" in module.__dict__}
        return [module for key, module in modules.items() if key not in self.final]

    def roots(self) -> list[nn.Module]:
        """Those of them that are part of no other and hold, somewhere, a parameter or buffer: not activations."""
        modules = self.open_modules()
        inside = parts_of(modules)
        alone = [module for module in modules if id(module) not in inside and stands_alone(module)]
        return [module for module in alone if holds_tensors(module, self.final if is_parallel(module) else ())]


def parts_of(modules: Iterable[nn.Module]) -> set[int]:
    """The ids of what is inside of some modules, also by way of modules that are none of them.

    Example:
        >>> inner, outer = nn.Linear(1, 1), nn.Sequential(nn.Sequential(nn.ReLU()))
        >>> outer[0].append(inner) is outer[0], id(inner) in parts_of([outer, inner])
        (True, True)
    """
    known, found = {id(module) for module in modules}, set[int]()
    waiting = list(modules)
    while waiting:
        for child in waiting.pop()._modules.values():
            if child is not None and id(child) not in found:
                found.add(id(child))
                if id(child) not in known:
                    waiting.append(child)
    return found


def is_parallel(module: nn.Module) -> bool:
    """Whether a module only runs a model in parallel: a model that is final has its report already."""
    return not PARALLEL.isdisjoint(base.__name__ for base in type(module).__mro__)


def stands_alone(module: nn.Module) -> bool:
    """Whether a module can be a model: not the parametrizations of one that was built elsewhere."""
    parts = [module, *module._modules.values()] if isinstance(module, nn.ModuleDict) else [module]
    return not any(isinstance(part, ParametrizationList) for part in parts)


def holds_tensors(module: nn.Module, final: Container[int] = ()) -> bool:
    """Whether a module, or one inside it, has a parameter or buffer; modules that are final do not count.

    Example:
        >>> holds_tensors(nn.ReLU()), holds_tensors(nn.Sequential(nn.ReLU(), nn.Linear(1, 1)))
        (False, True)
    """
    waiting, seen = [module], {id(module)}
    while waiting:
        part = waiting.pop()
        if (part._parameters or part._buffers) and id(part) not in final:
            return True
        new = [child for child in part._modules.values() if child is not None and id(child) not in seen]
        seen.update(map(id, new))
        waiting += new
    return False
