"""Which models are examined: in a sweep, and in the few minutes of a test run. By rules over names and sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import accumulate

from .sizes import Sizes
from .subjects import Subject

SMALL = 30_000_000
"""Values that a model of the subset may have."""
BUDGET = 1000.0
"""Seconds of processor time for the subset: some minutes on two cores."""
LARGEST = 100_000_000
"""timm has the same architectures in all sizes; beyond this many values only the smallest of a family is built."""


def worth_building(subjects: Iterable[Subject], sizes: Sizes) -> list[Subject]:
    """All of torchvision and transformers; of timm all up to `LARGEST`, and the smallest of each family."""
    subjects = list(subjects)
    smallest = set(smallest_of_families((s for s in subjects if s.library == "timm"), sizes))
    return [s for s in subjects if s.library != "timm" or sizes[s.key].values <= LARGEST or s in smallest]


def subset(subjects: Iterable[Subject], sizes: Sizes) -> list[Subject]:
    """For a test run: the smallest of each family, quickest first, as many as there is time for."""
    known = [s for s in subjects if s.key in sizes and sizes[s.key].seconds and sizes[s.key].values <= SMALL]
    quickest = sorted(smallest_of_families(known, sizes), key=lambda s: (sizes[s.key].seconds, s))
    until = accumulate(sizes[s.key].seconds for s in quickest)
    return sorted(subject for subject, seconds in zip(quickest, until, strict=True) if seconds <= BUDGET)


def smallest_of_families(subjects: Iterable[Subject], sizes: Sizes) -> Iterator[Subject]:
    """The smallest of each family, by name among equals, in the order of subjects."""
    best: dict[tuple[str, str], Subject] = {}
    for subject in subjects:
        family = subject.library, subject.family
        if family not in best or _order(subject, sizes) < _order(best[family], sizes):
            best[family] = subject
    yield from best.values()


def _order(subject: Subject, sizes: Sizes) -> tuple[float, str]:
    # What no sweep has met may be of any size.
    return sizes[subject.key].values if subject.key in sizes else math.inf, subject.name


def matching(subjects: Iterable[Subject], pattern: str) -> list[Subject]:
    """Those whose `library/name` or name a glob matches."""
    return [s for s in subjects if fnmatchcase(s.key, pattern) or fnmatchcase(s.name, pattern)]
