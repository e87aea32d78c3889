"""Replaced methods and functions, counted: there while any block is open, gone without a trace afterwards."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
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


class Patches:
    """Methods that are replaced while a counter is above zero.

    One set of patches for all threads, whose blocks may end in any order: patches that each block put on and took
    off for itself would, out of order, leave one installed for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._count = 0
        self._wanted: list[tuple[Owner, str, Make]] = []
        self._installed: list[tuple[Owner, str, object, object]] = []

    def want(self, owner: Owner, name: str, wrapper: Wrapper) -> None:
        """Have `wrapper(wrapped, instance, args, kwargs)` around a method whenever a block is open."""
        self._wanted.append((owner, name, _wrapped_by(wrapper)))

    def want_instead(self, owner: Owner, name: str, make: Make) -> None:
        """Have `make(original)` instead of a method: for what is called so often that the wrapping itself counts."""
        self._wanted.append((owner, name, make))

    def acquire(self) -> None:
        """Count one more block, and install the patches with the first."""
        with self._lock:
            self._count += 1
            if self._count == 1:
                for owner, name, make in self._wanted:
                    self._install(owner, name, make)

    def release(self) -> None:
        """Count one block less, and undo the patches with the last."""
        with self._lock:
            self._count -= 1
            if self._count == 0:
                while self._installed:
                    self._undo(*self._installed.pop())

    def also(self, owner: Owner, name: str, wrapper: Wrapper) -> None:
        """Patch one more method until the last open block ends."""
        with self._lock:
            if self._count and not any(o is owner and n == name for o, n, _, _ in self._installed):
                self._install(owner, name, _wrapped_by(wrapper))

    def _install(self, owner: Owner, name: str, make: Make) -> None:
        original = owner.__dict__.get(name)
        # An inherited method gets a wrapper of its own in the class, which is deleted again.
        replacement = make(getattr(owner, name) if original is None else original)
        setattr(owner, name, replacement)
        self._installed.append((owner, name, original, replacement))

    @staticmethod
    def _undo(owner: Owner, name: str, original: object, replacement: object) -> None:
        if owner.__dict__.get(name) is not replacement:
            # The first torch.compile of a process wraps __init__ for good. Taking our wrapper out from under it would
            # take torch's off; the wrapper stays inside and, with no block open, passes everything through.
            return
        if original is None:
            delattr(owner, name)
        else:
            setattr(owner, name, original)


def _wrapped_by(wrapper: Wrapper) -> Make:
    return lambda original: wrapt.FunctionWrapper(original, wrapper)
