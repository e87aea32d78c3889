"""Which block a piece of code runs in: by context variable, and only for the thread or task that opened it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar


def current_task() -> object | None:
    """The asyncio task that is running, if any."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


class Extent:
    """A stretch of one thread's or task's execution.

    Contexts are copied to the tasks and, by `asyncio.to_thread`, the threads that are started within, and outlive it
    there: what was opened elsewhere, or has ended, does not count.
    """

    def __init__(self) -> None:
        self.ended = True

    def begin(self) -> None:
        """Make this the innermost extent of the running code."""
        self._thread = threading.get_ident()
        self._task = current_task()
        self.ended = False
        _stack.set((*_stack.get(), self))

    def end(self) -> None:
        """End it, whatever began after it and goes on."""
        self.ended = True
        # Not ContextVar.reset: a generator may be closed in another context than it was started in.
        _stack.set(tuple(extent for extent in _stack.get() if extent is not self))

    def is_here(self) -> bool:
        """Whether the running thread or task is the one that began it."""
        if self.ended or threading.get_ident() != self._thread:
            return False
        return self._task is None or current_task() is self._task


_stack: ContextVar[tuple[Extent, ...]] = ContextVar("autoinit_stack", default=())

E = TypeVar("E", bound=Extent)


def innermost(kind: type[E]) -> E | None:
    """The innermost extent of the running code, if it is of this kind.

    Example:
        >>> innermost(Extent) is None
        True
        >>> with paused():
        ...     innermost(Extent) is None
        False
    """
    for extent in reversed(_stack.get()):
        if extent.is_here():
            return extent if isinstance(extent, kind) else None
    return None


class Pause(Extent):
    """A stretch in which nothing is noticed."""


def is_paused_within(extent: Extent) -> bool:
    """Whether the running code is in a pause that began inside an extent; or anywhere, if that is not its own.

    Example:
        >>> extent = Extent()
        >>> extent.begin()
        >>> with paused():
        ...     is_paused_within(extent)
        True
        >>> is_paused_within(extent), extent.end()
        (False, None)
    """
    for inner in reversed(_stack.get()):
        if inner is extent:
            return False
        if isinstance(inner, Pause) and inner.is_here():
            return True
    return False


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
