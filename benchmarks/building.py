"""A model built and initialized: in a block at once, and by each rival in two steps."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch

from .contenders import AUTOINIT, BY_HAND, LIMIT, META, MMENGINE, PLAIN, WAYS, contenders, left_as_garbage
from .processes import alone, quietly
from .resident import MIB, own_bytes, risen
from .rows import Row, beside
from .stopwatch import seconds, turns
from .subjects import SUBJECTS, Subject

ROUNDS = 3
PATIENCE = 5.0
"""Seconds after which a contender is not asked again."""
# Of design.md, on two cores.
GOALS = {("vit_l_16", 2, PLAIN): 0.25, ("vit_l_16", 2, MMENGINE): 0.15, ("vit_l_16", 2, BY_HAND): 0.04}
# Over the model's own bytes.
GOAL_SHARE, GOAL_MIB = 0.02, 64.0


class Sample(NamedTuple):
    """The cost of building a model once: seconds, and bytes at the highest point."""

    time: float
    peak: int


def rows(quick: bool = False) -> Iterator[Row]:
    """Each model over what it takes otherwise, on one thread and more; and its peak of memory on all."""
    counts = thread_counts(quick)
    for subject in SUBJECTS.values():
        for threads in counts:
            medians = (alone if quick else quietly)(take_turns, subject.name, threads, quick)
            yield from rows_of_time(subject, threads, medians, quick)
        yield from rows_of_memory(subject, threads, medians, quick)


def thread_counts(quick: bool = False) -> list[int]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [1] if quick else sorted({1, min(2, cores), cores})


def take_turns(subject_name: str, threads: int, quick: bool) -> dict[str, Sample]:
    """Have each contender build the model some times, in a process of its own every time."""
    names = contenders(SUBJECTS[subject_name])
    call = quietly if quick else alone
    builds = {name: partial(call, sample, subject_name, name, threads, quick) for name in names}
    measured = turns(builds, rounds=1 if quick else ROUNDS, patience=PATIENCE)
    return {name: median(samples) for name, samples in measured.items()}


def median(samples: Sequence[Sample]) -> Sample:
    times, peaks = zip(*samples, strict=True)
    return Sample(statistics.median(times), int(statistics.median(peaks)))


def sample(subject_name: str, way_name: str, threads: int, quick: bool) -> Sample:
    """Build a model once, in this process, after a small one of its kind."""
    torch.set_num_threads(threads)
    subject, way = SUBJECTS[subject_name], WAYS[way_name]
    way(subject, True)()
    torch.empty(1 << 20).fill_(1)  # torch's threads are started.
    build = way(subject, quick)
    times: list[float] = []
    # The peak is read after the model is dropped, which a high-water mark does not mind.
    peak = risen(lambda: times.append(seconds(build)))
    return Sample(times[0], peak)


def rows_of_time(subject: Subject, threads: int, medians: dict[str, Sample], quick: bool) -> Iterator[Row]:
    size = sum(param.numel() for param in subject.on_meta(quick).parameters()) if subject.fills else None
    goals = {rival: GOALS[key] for rival in medians if (key := (subject.name, threads, rival)) in GOALS}
    case = f"{subject.name}, {threads} thread{'s' if threads > 1 else ''}"
    for row in beside("building", case, {name: each.time for name, each in medians.items()}, goals):
        note = garbage(subject, quick) if row.reference == META else ""
        yield replace(row, note=note, parameters=size, threads=threads)


def garbage(subject: Subject, quick: bool) -> str:
    left = left_as_garbage(subject, quick)
    return f"{len(left)} tensor{'s' if len(left) > 1 else ''} left as garbage" if left else ""


def rows_of_memory(subject: Subject, threads: int, medians: dict[str, Sample], quick: bool) -> Iterator[Row]:
    own = own_bytes(subject.on_meta(quick)) / MIB
    peaks = {name: max(each.peak, 1) / MIB for name, each in medians.items() if name != LIMIT}
    ours = peaks.pop(AUTOINIT)
    whole = {"ours": ours, "the model's own bytes": own, **peaks}
    for row in beside("building", f"{subject.name}, peak memory", whole):
        is_own = row.reference not in peaks
        goal = dict(at_most=(1 + GOAL_SHARE) * own + GOAL_MIB, goal_for_ours=True) if is_own else {}
        yield replace(row, unit="MiB", threads=threads, **goal)
