"""The modules that were built in one block, in order, without keeping them alive."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterable, Iterator

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList


class Census:
    """Weak references to modules, with what happened to each.

    Recording is on the path of every module's construction: it appends to a list, and an index is made when asked for.
    """

    def __init__(self) -> None:
        self._born: list[weakref.ref[nn.Module]] = []
        self._index: dict[int, int] = {}
        self._indexed = 0
        self._lock = threading.Lock()
        self._loaded: dict[int, set[str]] = {}
        self.called: set[int] = set()
        self.carried_out: set[int] = set()
        self.final: set[int] = set()

    def add(self, module: nn.Module) -> None:
        """Record that a module is being built."""
        # Perhaps again: a torch.compile inside a block leaves a wrapper of ours inside torch's, and some classes have
        # two bases that both call nn.Module.__init__. Whoever reads goes by identity.
        self._born.append(weakref.ref(module))

    def add_copy(self, copy: nn.Module, original: nn.Module) -> None:
        """Record a copy of a recorded module; what was loaded into the original was loaded into the copy."""
        self.add(copy)
        self.note_loaded(copy, self._loaded_names(original))
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

    def params(self) -> Iterator[nn.Parameter]:
        """What the modules have registered so far, each as often as they have it."""
        for module in self:
            yield from (param for param in module.__dict__.get("_parameters", {}).values() if param is not None)

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
            self._loaded.pop(key, None)
            self.called.discard(key)
            self.carried_out.discard(key)
            self.final.discard(key)
            known = None
        if known is None:
            self._index[key] = position

    def note_loaded(self, module: nn.Module, names: Iterable[str]) -> None:
        """Record that parameters or buffers of a module came from a checkpoint."""
        # By name, so that what is converted afterwards, perhaps to a new object, is loaded still.
        self._loaded.setdefault(id(module), set()).update(names)

    def note_unpickled(self, module: nn.Module) -> None:
        """Record a module that was read from a file as a whole: nothing of it is new, and nothing is left to run."""
        self.add(module)
        self.note_loaded(module, [*module._parameters, *module._buffers])
        self.called.add(id(module))
        self.carried_out.add(id(module))

    def _loaded_names(self, module: nn.Module) -> set[str]:
        names = set(self._loaded.get(id(module), ()))
        if "transformers" in sys.modules:
            # from_pretrained puts new parameters in place, and keeps account of them on the parameters themselves.
            names.update(name for name, param in module._parameters.items() if hasattr(param, "_is_hf_initialized"))
        return names

    def loaded_tensors(self) -> set[int]:
        """The ids of the parameters and buffers that came from a checkpoint."""
        found = set()
        for module in self:
            for name in self._loaded_names(module):
                tensor = {**module._buffers, **module._parameters}.get(name)
                if tensor is not None:
                    found.add(id(tensor))
        return found

    def open_modules(self) -> list[nn.Module]:
        """The recorded modules that are still to be initialized, in the order of their construction."""
        # By id, because nn.Module.__init__ runs twice for some, by way of two base classes.
        modules = {id(module): module for module in self if "_modules" in module.__dict__}
        return [module for key, module in modules.items() if key not in self.final]

    def roots(self) -> list[nn.Module]:
        """Those of them that are part of no other and hold, somewhere, a parameter or buffer: not activations."""
        modules = self.open_modules()
        inside = parts_of(modules)
        return [
            module for module in modules if id(module) not in inside and holds_tensors(module) and stands_alone(module)
        ]


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


def stands_alone(module: nn.Module) -> bool:
    """Whether a module can be a model: not the parametrizations of one that was built elsewhere."""
    parts = [module, *module._modules.values()] if isinstance(module, nn.ModuleDict) else [module]
    return not any(isinstance(part, ParametrizationList) for part in parts)


def holds_tensors(module: nn.Module) -> bool:
    """Whether a module, or one inside it, has a parameter or buffer.

    Example:
        >>> holds_tensors(nn.ReLU()), holds_tensors(nn.Sequential(nn.ReLU(), nn.Linear(1, 1)))
        (False, True)
    """
    waiting, seen = [module], {id(module)}
    while waiting:
        part = waiting.pop()
        if part._parameters or part._buffers:
            return True
        new = [child for child in part._modules.values() if child is not None and id(child) not in seen]
        seen.update(map(id, new))
        waiting += new
    return False
