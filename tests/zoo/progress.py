"""How far a sweep is."""

from __future__ import annotations

import time
from collections.abc import Collection

from .subjects import Subject

EVERY = 60.0
"""Seconds between two signs of life."""


class Progress:
    """Prints a line now and then; the rest is estimated from the time that as many models have taken."""

    def __init__(self, subjects: Collection[Subject]) -> None:
        self._total, self._done = len(subjects), 0
        self._start = self._told = time.monotonic()

    def done(self, subject: Subject) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._told > EVERY:
            self._told = now
            left = (now - self._start) / self._done * (self._total - self._done) / 60
            print(f"{self._done} of {self._total}, about {left:.0f} min left: {subject.key}", flush=True)
