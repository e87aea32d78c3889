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
    """Prints a line now and then.

    Args:
        subjects: that will be examined.
        sizes: of those that are not all small.
        jobs: how many at a time.
    """

    def __init__(self, subjects: Iterable[Subject], sizes: Sizes, jobs: int) -> None:
        self._waiting = set(subjects)
        self._total = len(self._waiting)
        self._sizes, self._jobs = sizes, jobs
        self._expected = self._left_by_sizes()
        self._start = self._told = time.monotonic()

    def _left_by_sizes(self) -> float:
        return expected_seconds(self._waiting, self._sizes, self._jobs)

    @property
    def left(self) -> float:
        """Seconds, by the sizes of the models, and by how much faster or slower this sweep is than expected."""
        left = self._left_by_sizes()
        done = self._expected - left
        pace = (time.monotonic() - self._start) / done if done > self._expected / 100 else 1.0
        return left * pace

    def done(self, subject: Subject) -> None:
        """Count one model."""
        self._waiting.discard(subject)
        if time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            count = self._total - len(self._waiting)
            print(f"{count} of {self._total}, about {minutes(self.left)} left: {subject.key}", flush=True)


def expected_seconds(subjects: Iterable[Subject], sizes: Sizes, jobs: int) -> float:
    """How long the examination of some models will take."""
    return sum(PER_MODEL + PER_MILLION * sizes.get(subject.key, 0.0) for subject in subjects) / jobs


def minutes(seconds: float) -> str:
    """A duration in words.

    Example:
        >>> minutes(50), minutes(3000), minutes(9000)
        ('1 min', '50 min', '2 h 30 min')
    """
    total = max(1, round(seconds / 60))
    return f"{total} min" if total < 100 else f"{total // 60} h {total % 60:02} min"
