"""Extents: stretches of the execution of one thread or task, such as an open block, an observer or a pause."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from operator import is_not

from torch import nn

from ..construction import Listener, Watch, current_watches, listeners
from .built import BuiltModules


class Extent:
    """A stretch of the execution of one thread or asyncio task: an open block, an observer, or a pause.

    Tasks and `asyncio.to_thread` start with a copy of the context, which outlives the block: an extent counts only
    until it ends, and only in the thread or task that began it. It records the modules that are built in it, and its
    watch, if it has one, what is written to them. While it is open, `classes` has their classes, and whether modules
    of these may have rules of their own.
    """

    ended = True
    watch: Watch | None = None
    owns_watch = False
    """Whether this is the block that decides what the watch postpones."""

    def __init__(self) -> None:
        self.built = BuiltModules()
        self.classes: dict[type, bool] = {}

    def stop_watching(self) -> None:
        """Run the postponed fills, and stop watching with the last that needs it."""
        if self.watch is not None:
            self.watch.users -= 1
            if not self.watch.users:
                self.watch.end()
            elif self.owns_watch:  # The outer of two blocks may end first.
                self.watch.postponed.run_all()

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
    except RuntimeError:  # No event loop runs.
        return None


stack: ContextVar[tuple[Extent, ...]] = ContextVar("autoinit_stack", default=())


class Pause(Extent):
    """A stretch inside a block in which nothing is noticed."""


class Observer(Extent):
    """A block that changes nothing: `listener` is called with every write in its thread.

    One watch, which is off while a block with rules watches, serves all observers of a thread.
    """

    watch: Watch

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        shared = next((watch for watch in current_watches() if watch.yields), None)
        self.watch = shared or Watch(may_postpone=False, yields=True)
        self.listener = listener

    def begin(self) -> None:
        self.watch.users += 1
        self.watch.begin()
        listeners.current = (*listeners.current, self.listener)
        super().begin()

    def end(self) -> None:
        super().end()
        listeners.current = tuple(each for each in listeners.current if each != self.listener)


open_extents: list[Extent] = []
"""The open blocks and observers of all threads and tasks, in the order of their opening."""


def extents_of(module: nn.Module) -> Iterator[Extent]:
    """The open blocks and observers that a module was built in, inner before outer, also if it is used elsewhere."""
    return (each for each in open_extents[::-1] if module in each.built)


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


def is_paused(block: Extent) -> bool:
    """Whether a pause began after a block of the running code; for a block from elsewhere, whether any is open."""
    for extent in reversed(stack.get()):
        if extent is block:
            return False
        if isinstance(extent, Pause) and extent.is_here():
            return True
    return False
