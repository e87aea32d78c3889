"""Stretches of the execution of one thread or task: a pause, and a block that observes without changing anything."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from operator import is_not

from torch import nn

from ..construction import Listener, Watch, current_watches
from .built import BuiltModules


class Extent:
    """A stretch of the execution of one thread or asyncio task: an open block, or a pause.

    Tasks and `asyncio.to_thread` start with a copy of the context, which outlives the block: an extent counts only
    until it ends, and only in the thread or task that began it.
    """

    ended = True

    def begin(self) -> None:
        """Make this the innermost extent of the running code."""
        self._thread, self._task, self.ended = threading.get_ident(), _current_task(), False
        stack.set((*stack.get(), self))

    def end(self) -> None:
        """End this extent; those that began inside it go on."""
        self.ended = True
        # Not ContextVar.reset: a generator may be closed in another context than it was started in.
        stack.set(tuple(filter(partial(is_not, self), stack.get())))

    def is_here(self) -> bool:
        """Whether the running thread or task is the one that began it."""
        if self.ended or threading.get_ident() != self._thread:
            return False
        return self._task is None or _current_task() is self._task


def _current_task() -> object | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


stack: ContextVar[tuple[Extent, ...]] = ContextVar("autoinit_stack", default=())


class Pause(Extent):
    """A stretch inside a block in which nothing is noticed."""


class Observer(Extent):
    """A block that changes nothing: it records the modules built in it, and is called with every write in its thread.

    Args:
        listener: Function that is called.

    Attributes:
        built: The modules.
        watch: Sees the writes where no block with rules does; one for all observers of a thread.
    """

    def __init__(self, listener: Listener) -> None:
        shared = next((watch for watch in current_watches() if watch.yields), None)
        self.built = BuiltModules()
        self.watch = shared or Watch(may_postpone=False, yields=True)
        self.listener = listener


open_observers: list[Observer] = []
"""Those of all threads and tasks."""


def observers_here() -> Iterator[Observer]:
    """The observers that the running code is in, inner before outer; none in a pause."""
    for extent in reversed(stack.get()) if open_observers else ():
        if extent.is_here():
            if isinstance(extent, Pause):
                return
            if isinstance(extent, Observer):
                yield extent


@contextmanager
def paused() -> Iterator[None]:
    """A stretch inside a block in which nothing is noticed: what is built or copied there is left alone.

    Example:
        >>> import torch
        >>> from autoinit import autoinit, paused
        >>> with autoinit(dict(type="Constant", val=7, layer="Linear")):
        ...     layer = torch.nn.Linear(1, 1)
        ...     with paused():
        ...         other = torch.nn.Linear(1, 1)
        >>> layer.weight.item(), other.weight.item() == 7
        (7.0, False)
    """
    pause = Pause()
    pause.begin()
    try:
        yield
    finally:
        pause.end()


def observers_of(module: nn.Module) -> Iterator[Observer]:
    """The observers that a module was built under, in whatever thread it is used now."""
    return (observer for observer in open_observers if module in observer.built)


def is_paused(scope: Extent) -> bool:
    """Whether a pause began after a block of the running code; for a block from elsewhere, whether any is open."""
    for extent in reversed(stack.get()):
        if extent is scope:
            return False
        if isinstance(extent, Pause) and extent.is_here():
            return True
    return False
