"""How far a sweep is, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Iterable

from .sizes import Sizes
from .subjects import Subject

EVERY = 60.0
"""Seconds between two signs of life."""
PER_MODEL, PER_MILLION = 1.2, 0.1
"""Seconds of processor time that an examination takes, and that it takes more for each million values."""


class Progress:
    """Prints a line now and then, while so many subjects at a time are examined."""

    def __init__(self, subjects: Iterable[Subject], sizes: Sizes, jobs: int) -> None:
        self._waiting = set(subjects)
        self._total = len(self._waiting)
        self._sizes, self._jobs = sizes, jobs
        self._expected = expected_seconds(self._waiting, sizes, jobs)
        self._start = self._told = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds, by the sizes of the models, and by how much faster or slower this sweep is than expected."""
        left = expected_seconds(self._waiting, self._sizes, self._jobs)
        done = self._expected - left
        pace = (time.monotonic() - self._start) / done if done > self._expected / 100 else 1.0
        return left * pace

    def done(self, subject: Subject) -> None:
        self._waiting.discard(subject)
        if time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            count = self._total - len(self._waiting)
            print(f"{count} of {self._total}, about {minutes(self.left)} left: {subject.key}", flush=True)


def expected_seconds(subjects: Iterable[Subject], sizes: Sizes, jobs: int) -> float:
    return sum(PER_MODEL + PER_MILLION * sizes.get(subject.key, 0.0) for subject in subjects) / jobs


def minutes(seconds: float) -> str:
    """A duration in words: 50 min, or 2 h 30 min."""
    total = max(1, round(seconds / 60))
    return f"{total} min" if total < 100 else f"{total // 60} h {total % 60:02} min"
