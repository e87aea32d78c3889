"""Another process that takes a core, as on machines where people work."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def competing() -> Iterator[None]:
    """A stretch in which one other process computes all the time."""
    process = multiprocessing.get_context("spawn").Process(target=compute, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def compute() -> None:
    """Until it is killed."""
    number = 1
    while True:
        number = number * 6364136223846793005 % 2**64
