"""Many models examined, some at a time, each in a process of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from multiprocessing.connection import wait

from .findings import Findings
from .isolation import Examine, Limits, Worker
from .subjects import Subject


def sweep(
    subjects: Iterable[Subject], examine: Examine, *, jobs: int, limits: Limits
) -> Iterator[tuple[Subject, Findings]]:
    """What each model has shown, in the order in which they are done.

    Args:
        subjects: are begun in this order.
        examine: is called with a `Tell`, the library and the name.
        jobs: how many processes at a time.
        limits: of each.
    """
    waiting = iter(subjects)
    running: dict[Worker, Subject] = {}
    try:
        while True:
            while len(running) < jobs and (subject := next(waiting, None)) is not None:
                running[Worker(examine, subject.library, subject.name, limits=limits)] = subject
            if not running:
                return
            wait([worker.connection for worker in running], min(worker.left for worker in running))
            for worker in list(running):
                if (findings := worker.poll()) is not None:
                    yield running.pop(worker), findings
    finally:
        for worker in running:
            worker.stop()
