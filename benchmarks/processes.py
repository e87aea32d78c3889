"""Calls in processes of their own, and another process that takes a core, as on machines where people work."""

from __future__ import annotations

import functools
import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import TypeVar

T = TypeVar("T")


@functools.cache
def server() -> BaseContext:
    """A process that imports the libraries once, runs nothing, and is copied for every call."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.preloaded"])
    return context


def alone(function: Callable[..., T], *args: object) -> T:
    """Call a function in a new process, where no threads were started, and no memory was used and freed."""
    with ProcessPoolExecutor(max_workers=1, mp_context=server()) as executor:
        return executor.submit(quietly, function, *args).result()


def quietly(function: Callable[..., T], *args: object) -> T:
    """A call without warnings: of layers that are absent, say, which no reader of the table can act upon."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args)


@contextmanager
def competing() -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=compute, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def compute() -> None:
    number = 1
    while True:
        number = number * 6364136223846793005 % 2**64
