"""Which models are examined: in a sweep, and in the few minutes of a test run. By rules over names and sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from .sizes import SIZED, Sizes
from .subjects import Subject

SMALL = 30.0
"""Millions of values that a model of the subset may have."""
LARGEST = 100.0
"""timm has the same architectures in all sizes; beyond this many millions only the smallest of a family is built."""
EVERY = 4
"""The subset has a model of one in so many families where all models are small."""


def worth_building(subjects: Iterable[Subject], sizes: Sizes) -> list[Subject]:
    """All of torchvision and transformers; of timm all up to `LARGEST`, and the smallest of each family."""
    subjects = list(subjects)
    smallest = set(smallest_of_families((s for s in subjects if s.library == "timm"), sizes))
    return [s for s in subjects if s.library != "timm" or sizes[s.key] <= LARGEST or s in smallest]


def subset(subjects: Iterable[Subject], sizes: Sizes) -> list[Subject]:
    """For a test run: of each family the smallest, if it is small; of one family in four where all of them are."""
    smallest = list(smallest_of_families(subjects, sizes))
    sized = [s for s in smallest if s.library in SIZED and sizes.get(s.key, math.inf) <= SMALL]
    return sized + [s for s in smallest if s.library not in SIZED][::EVERY]


def smallest_of_families(subjects: Iterable[Subject], sizes: Sizes) -> Iterator[Subject]:
    """The smallest of each family, by name among equals, in the order of subjects."""
    best: dict[tuple[str, str], Subject] = {}
    for subject in subjects:
        family = subject.library, subject.family
        if family not in best or _order(subject, sizes) < _order(best[family], sizes):
            best[family] = subject
    yield from best.values()


def _order(subject: Subject, sizes: Sizes) -> tuple[float, str]:
    return sizes.get(subject.key, math.inf), subject.name


def matching(subjects: Iterable[Subject], pattern: str) -> list[Subject]:
    """Select the subjects whose `library/name` or name matches a glob."""
    return [s for s in subjects if fnmatchcase(s.key, pattern) or fnmatchcase(s.name, pattern)]
