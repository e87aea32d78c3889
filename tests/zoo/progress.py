"""How far a sweep is, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Iterable

from .sizes import Sizes, expected_seconds
from .subjects import Subject

EVERY = 60.0
"""Seconds between two signs of life."""


class Progress:
    """Prints a line now and then.

    Args:
        subjects: that will be examined.
        sizes: with the seconds of earlier sweeps.
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
        """Seconds, by what earlier sweeps took, and by how much faster or slower this one is."""
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


def minutes(seconds: float) -> str:
    """A duration in words.

    Example:
        >>> minutes(50), minutes(3000), minutes(9000)
        ('1 min', '50 min', '2 h 30 min')
    """
    total = max(1, round(seconds / 60))
    return f"{total} min" if total < 100 else f"{total // 60} h {total % 60:02} min"
