"""Examinations, each in a process of its own with limits: a model that crashes, hangs or grows ends only itself."""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .findings import PLAIN, Findings, Problem
from .subjects import Subject

# A server that has imported everything and forks itself: a process costs milliseconds, and inherits no threads.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([f"{__package__}.preload"])

GRACE = 10.0
"""Seconds that a process has to end after its last word."""

Tell = Callable[[str, Findings], None]
Examine = Callable[..., Findings]


class Limits(NamedTuple):
    """For one model: seconds of wall time, and MiB of data."""

    seconds: float = 600
    memory: int = 8192


class Worker:
    """A process that examines one model.

    Args:
        examine: a module's function. Gets a `Tell`, to be called with each check that begins and the findings so far,
            and the arguments.
        arguments: are pickled.
        limits: beyond which the process is ended.
    """

    def __init__(self, examine: Examine, *arguments: Any, limits: Limits) -> None:
        self._limits = limits
        self._check, self._so_far = PLAIN, Findings()
        with tempfile.NamedTemporaryFile(prefix="zoo-", delete=False) as output:
            self._output = Path(output.name)
        self.connection, theirs = CONTEXT.Pipe(duplex=False)
        work = (theirs, self._output, limits.memory, examine, arguments)
        self._process = CONTEXT.Process(target=_work, args=work, daemon=True)
        self._process.start()
        theirs.close()
        self._start = time.monotonic()

    @property
    def left(self) -> float:
        return max(0.0, self._start + self._limits.seconds - time.monotonic())

    def wait(self) -> Findings:
        while (findings := self.poll()) is None:
            self.connection.poll(self.left)
        return findings

    def poll(self) -> Findings | None:
        try:
            while self.connection.poll():
                check, found = self.connection.recv()
                self._so_far = Findings.from_dict(found)
                if check is None:
                    return self.end()
                self._check = check
        except EOFError:
            self._process.join()
            last_words = self._output.read_text(errors="replace")[-300:]
            return self.end(f"crash: exit code {self._process.exitcode}: {last_words}")
        if not self.left:
            return self.end(f"timeout: not done after {self._limits.seconds:g} s")
        return None

    def end(self, failure: str = "") -> Findings:
        """End the process, at its end or with a failure, and return its findings."""
        if failure:
            problem = Problem(check=self._check, text=failure, theirs=self._check == PLAIN)
            self._so_far.problems.append(problem)
            self._process.kill()
        self._process.join(GRACE)
        if self._process.is_alive():
            # Threads of libraries may keep a process whose work is done.
            self._process.kill()
            self._process.join()
        self._process.close()
        self.connection.close()
        self._output.unlink()
        return self._so_far


def _work(connection: Connection, output: Path, memory: int, examine: Examine, arguments: tuple[Any, ...]) -> None:
    # Output of libraries is kept, because it may be the last thing before a crash.
    with output.open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_DATA, (memory << 20, memory << 20))
    torch.set_num_threads(1)
    # Memory that a constructor takes and does not fill is then NaN instead of whatever was there.
    torch.use_deterministic_algorithms(True, warn_only=True)
    gc.collect()
    gc.freeze()

    def tell(check: str | None, findings: Findings) -> None:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        findings.memory = used[0].ru_maxrss >> 10
        findings.took = sum(usage.ru_utime + usage.ru_stime for usage in used)
        connection.send((check, findings.to_dict()))

    tell(None, examine(tell, *arguments))


def sweep(
    subjects: Iterable[Subject], examine: Examine, *, jobs: int, limits: Limits
) -> Iterator[tuple[Subject, Findings]]:
    """Examine `jobs` models at a time, in their order; yield the findings of each as soon as it is done.

    `examine` is called with a `Tell`, the library and the name.
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
            worker.end("stopped")
