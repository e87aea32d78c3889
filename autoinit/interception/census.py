"""The modules that were built in one block, in order, without keeping them alive."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator

from torch import nn


class Census:
    """Weak references to modules, with what happened to each.

    Recording is on the path of every module's construction: it appends to a list, and an index is made when asked for.
    """

    def __init__(self) -> None:
        self._born: list[weakref.ref[nn.Module]] = []
        self._index: dict[int, int] = {}
        self._indexed = 0
        self._loaded: dict[int, set[str]] = {}
        self.called: set[int] = set()
        self.final: set[int] = set()

    def add(self, module: nn.Module) -> None:
        """Record that a module is being built."""
        born = self._born
        # A torch.compile inside the block leaves a wrapper of ours inside torch's: one construction, two calls.
        if born and born[-1]() is module:
            return
        born.append(weakref.ref(module))

    def add_copy(self, copy: nn.Module, original: nn.Module) -> None:
        """Record a copy of a recorded module; what was loaded into the original was loaded into the copy."""
        self.add(copy)
        if id(original) in self._loaded:
            self._loaded[id(copy)] = set(self._loaded[id(original)])
        for marks in (self.called, self.final):
            if id(original) in marks:
                marks.add(id(copy))

    def __iter__(self) -> Iterator[nn.Module]:
        for born in self._born:
            module = born()
            if module is not None:
                yield module

    def __contains__(self, module: object) -> bool:
        while self._indexed < len(self._born):
            born = self._born[self._indexed]()
            if born is not None:
                # An id is free again when its module is gone: the latest owner counts.
                self._forget(id(born))
                self._index[id(born)] = self._indexed
            self._indexed += 1
        at = self._index.get(id(module))
        return at is not None and self._born[at]() is module

    def _forget(self, key: int) -> None:
        if key in self._index:
            self._loaded.pop(key, None)
            self.called.discard(key)
            self.final.discard(key)

    def note_loaded(self, module: nn.Module, names: Iterable[str]) -> None:
        """Record that parameters of a module came from a checkpoint."""
        self._loaded.setdefault(id(module), set()).update(names)

    def loaded_params(self) -> set[int]:
        """The ids of the parameters that came from a checkpoint."""
        found = set()
        for module in self:
            for name in self._loaded.get(id(module), ()):
                param = module._parameters.get(name)
                if param is not None:
                    found.add(id(param))
        return found

    def open_modules(self) -> list[nn.Module]:
        """The recorded modules that are still to be initialized, in the order of their construction."""
        # A module whose constructor failed before it called nn.Module.__init__ again has no tables.
        return [module for module in self if id(module) not in self.final and "_modules" in module.__dict__]

    def roots(self) -> list[nn.Module]:
        """Those of them that are part of no other."""
        modules = self.open_modules()
        children = {id(child) for module in modules for child in module._modules.values() if child is not None}
        return [module for module in modules if id(module) not in children]
