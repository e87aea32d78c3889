"""Limits of one case: ten seconds of processor time, some memory, no network."""

from __future__ import annotations

import contextlib
import faulthandler
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType

SECONDS = 10
"""Of the processor: on a busy machine a case takes any time by the clock."""
MEMORY = 512 << 20
"""Bytes by which one case may raise the peak of the process: the largest case is some mebibytes."""

HARD_SECONDS = 600
"""By the clock: what waits, or does not come back to Python to hear of the first limit, is ended with the process."""


class Hang(BaseException):
    """No `Exception`, so that nothing takes it for a failure of its own."""


class BrokenError(Exception):
    """A contract that did not hold, in words."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """A stretch that may take the time and memory of one case.

    Raises:
        Hang: it took longer.
        BrokenError: it took more memory.
    """
    before, peak = resident(), peak_memory()
    handler = signal.signal(signal.SIGPROF, _on_alarm)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    faulthandler.dump_traceback_later(HARD_SECONDS, exit=True, file=sys.__stderr__)  # A test may have another.
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGPROF, handler)
    # The peak never falls: it says something of this case only if this case has raised it.
    if peak_memory() > max(peak, before + MEMORY):
        raise BrokenError(f"memory: {(peak_memory() - before) >> 20} MiB more than before")


def _on_alarm(number: int, frame: FrameType | None) -> None:
    raise Hang(f"longer than {SECONDS} s")


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """No connection leaves this process: real configs name checkpoints of the internet."""

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError("fuzzing has no network")

    connect, look_up = socket.socket.connect, socket.getaddrinfo
    socket.socket.connect, socket.getaddrinfo = refuse, refuse  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        socket.socket.connect, socket.getaddrinfo = connect, look_up  # type: ignore[method-assign]
