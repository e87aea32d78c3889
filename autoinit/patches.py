"""Replaced methods and functions, counted: there while any block is open, gone without a trace afterwards."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from types import ModuleType
from typing import Any

import wrapt

from .errors import PACKAGE

Wrapper = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]

PACKAGES = (PACKAGE, os.path.dirname(wrapt.__file__) + os.sep)
"""Where the frames come from that wrapping puts between a caller and what it calls."""

Make = Callable[[Any], Any]
"""From an original to what is put in its place."""

Owner = type | ModuleType
"""What has the function: a class, or a module that looks it up by its name when it calls it."""


class Stack:
    """One function, and what the patches on it make of it, one on top of the other.

    Patches that are installed and undone in any order need this: a wrapper that is not on top cannot be taken off.

    Args:
        owner: the class or module that has the function.
        name: in the owner.
    """

    def __init__(self, owner: Owner, name: str) -> None:
        self.owner, self.name = owner, name
        self.original = owner.__dict__.get(name)
        # An inherited method gets a wrapper of its own in the class, which is deleted again.
        self._start = getattr(owner, name) if self.original is None else self.original
        self.makes: list[Make] = []
        self.top: object = self.original

    @property
    def is_on_top(self) -> bool:
        """Whether nothing else has replaced the function since.

        The first torch.compile of a process wraps __init__ for good. Taking our wrapper out from under it would take
        torch's off; the wrapper stays inside and, with no block open, passes everything through.
        """
        return self.owner.__dict__.get(self.name) is self.top

    def rebuild(self) -> None:
        """Install what the patches now make of the function; without any, the original."""
        if not self.is_on_top:
            return
        if self.makes:
            self.top = self._start
            for make in self.makes:
                self.top = make(self.top)
            setattr(self.owner, self.name, self.top)
        elif self.original is None:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.original)


_stacks: dict[tuple[Owner, str], Stack] = {}
_stacks_lock = threading.RLock()


def _push(owner: Owner, name: str, make: Make) -> Stack:
    with _stacks_lock:
        stack = _stacks.get((owner, name))
        if stack is None or not stack.is_on_top:
            stack = _stacks[owner, name] = Stack(owner, name)
        stack.makes.append(make)
        stack.rebuild()
        return stack


def _remove(stack: Stack, make: Make) -> None:
    with _stacks_lock:
        stack.makes.remove(make)
        stack.rebuild()
        if not stack.makes and _stacks.get((stack.owner, stack.name)) is stack:
            del _stacks[stack.owner, stack.name]


class Patches:
    """Methods that are replaced while a counter is above zero.

    One set of patches for all threads, whose blocks may end in any order: patches that each block put on and took
    off for itself would, out of order, leave one installed for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._count = 0
        self._wanted: list[tuple[Owner, str, Make]] = []
        self._installed: list[tuple[Stack, Make]] = []

    def want(self, owner: Owner, name: str, make: Make) -> None:
        """Have `make(original)` in place of a function whenever a block is open."""
        self._wanted.append((owner, name, make))

    def acquire(self) -> None:
        """Count one more block, and install the patches with the first."""
        with self._lock:
            self._count += 1
            if self._count == 1:
                for owner, name, make in self._wanted:
                    self._installed.append((_push(owner, name, make), make))

    def release(self) -> None:
        """Count one block less, and undo the patches with the last."""
        with self._lock:
            self._count -= 1
            if self._count == 0:
                while self._installed:
                    _remove(*self._installed.pop())

    def also(self, owner: Owner, name: str, make: Make) -> None:
        """Patch one more function until the last open block ends."""
        with self._lock:
            known = any(stack.owner is owner and stack.name == name for stack, _ in self._installed)
            if self._count and not known:
                self._installed.append((_push(owner, name, make), make))


def around(wrapper: Wrapper) -> Make:
    """Have `wrapper(wrapped, instance, args, kwargs)` around a function."""
    return lambda original: wrapt.FunctionWrapper(original, wrapper)


def within(enter: Callable[[Any], AbstractContextManager[None] | None]) -> Make:
    """Run a method within `enter(instance)`, if that is not None.

    The wrapper is a plain function, so that what a constructor binds is a plain method; and no other frame lies
    between the caller and the method.
    """

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
