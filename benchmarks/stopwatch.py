"""Medians of repetitions that take turns, so that a busy spell of the machine falls on all alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

T = TypeVar("T")


def medians(contenders: Mapping[str, Callable[[], object]], rounds: int, warm_up: bool = True) -> dict[str, float]:
    """Median seconds of each contender over rounds in which all run once, every other one in reverse order."""
    if warm_up:
        for contender in contenders.values():
            contender()
    measured = turns({name: partial(seconds, contender) for name, contender in contenders.items()}, rounds)
    return {name: statistics.median(times) for name, times in measured.items()}


def turns(contenders: Mapping[str, Callable[[], T]], rounds: int, patience: float = math.inf) -> dict[str, list[T]]:
    """Call the contenders in turns; one that has taken more seconds than `patience` is not called again."""
    results: dict[str, list[T]] = {name: [] for name in contenders}
    taken = dict.fromkeys(contenders, 0.0)
    for index in range(rounds):
        for name in list(contenders)[:: -1 if index % 2 else 1]:
            if taken[name] <= patience:
                start = time.perf_counter()
                results[name].append(contenders[name]())
                taken[name] += time.perf_counter() - start
    return results


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
