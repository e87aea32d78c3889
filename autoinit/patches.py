"""Replaced methods and functions, counted: there while any block is open, gone without a trace afterwards."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial, wraps
from types import ModuleType
from typing import Any

import wrapt

from .errors import PACKAGE

Wrapper = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]

PACKAGES = (PACKAGE, os.path.dirname(wrapt.__file__) + os.sep)
"""Where the frames come from that wrapping puts between a caller and what it calls."""

Make = Callable[[Any], Any]
"""From an original to its replacement."""

Owner = type | ModuleType
"""A class with the method, or a module that looks the function up by its name at each call."""


@dataclass(eq=False)
class Patched:
    """One function, with the patches of all sets on it, the last made outermost; they are removed in any order."""

    owner: Owner
    name: str
    original: object
    """In the owner itself; None for an inherited method, whose wrapper is deleted again."""
    found: object
    makes: list[Make] = field(default_factory=list)
    top: object = None

    def rebuild(self) -> None:
        """Put the wrapped function in its place; without patches, the original.

        If another library has wrapped our wrapper meanwhile, as the first `torch.compile` of a process does with
        `__init__` for good, then it stays inside and, with no block open, passes everything through.
        """
        if self.owner.__dict__.get(self.name) is not self.top:
            return
        self.top = self.found
        for make in self.makes:
            self.top = make(self.top)
        if self.makes or self.original is not None:
            setattr(self.owner, self.name, self.top)
        else:
            delattr(self.owner, self.name)


_patched: dict[tuple[Owner, str], Patched] = {}
_lock = threading.RLock()


class Patches:
    """A set of patches that is installed while a counter is above zero.

    One set serves all threads, whose blocks may end in any order: patches that each block put on and took off for
    itself would, out of order, leave one installed for ever.
    """

    def __init__(self) -> None:
        self._count = 0
        self._wanted: list[tuple[Owner, str, Make]] = []
        self._installed: dict[tuple[Owner, str], tuple[Patched, Make]] = {}

    def want(self, owner: Owner, name: str, make: Make) -> None:
        """Have `make(original)` in place of a function whenever a block is open."""
        self._wanted.append((owner, name, make))

    def acquire(self) -> None:
        """Count one more block, and install the patches with the first."""
        with _lock:
            self._count += 1
            if self._count == 1:
                for wanted in self._wanted:
                    self.also(*wanted)

    def release(self) -> None:
        """Count one block less, and undo the patches with the last."""
        with _lock:
            self._count -= 1
            while self._installed and not self._count:
                key, (patched, make) = self._installed.popitem()
                patched.makes.remove(make)
                patched.rebuild()
                if not patched.makes and _patched.get(key) is patched:
                    del _patched[key]

    def also(self, owner: Owner, name: str, make: Make) -> None:
        """Patch one more function until the last open block ends."""
        key = owner, name
        with _lock:
            if not self._count or key in self._installed:
                return
            patched, now = _patched.get(key), owner.__dict__.get(name)
            if patched is None or patched.top is not now:
                found = getattr(owner, name) if now is None else now
                patched = _patched[key] = Patched(owner, name, now, found, top=now)
            patched.makes.append(make)
            patched.rebuild()
            self._installed[key] = patched, make


def around(wrapper: Wrapper) -> Make:
    """Have `wrapper(wrapped, instance, args, kwargs)` around a function."""
    return partial(wrapt.FunctionWrapper, wrapper=wrapper)


def within(enter: Callable[[Any], AbstractContextManager[None] | None]) -> Make:
    """Run a method within `enter(instance)`, if that is not None."""
    # A plain function: what a constructor binds is a plain method, and no other frame comes between.

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def method(self: object, *args: Any, **kwargs: Any) -> Any:
            context = enter(self)
            if context is None:
                return original(self, *args, **kwargs)
            with context:
                return original(self, *args, **kwargs)

        return method

    return make
