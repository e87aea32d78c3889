"""Medians of repetitions that take turns, so that a busy spell of the machine falls on all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


def medians(contenders: Mapping[str, Callable[[], object]], rounds: int, warm_up: bool = True) -> dict[str, float]:
    """Median seconds of each contender over rounds in which all run once, every other one in reverse order."""
    if warm_up:
        for contender in contenders.values():
            contender()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(rounds):
        for name in list(contenders)[:: -1 if index % 2 else 1]:
            times[name].append(seconds(contenders[name]))
    return {name: statistics.median(measured) for name, measured in times.items()}


def seconds(run: Callable[[], object]) -> float:
    """How long a call takes; what it returns is thrown away after the clock has stopped."""
    with uncollected():
        start = time.perf_counter()
        result = run()
        elapsed = time.perf_counter() - start
        del result
    return elapsed


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection within, and no garbage from before."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
