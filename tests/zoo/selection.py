"""Which models are examined: in a sweep, and in the few minutes of a test run. By rules over names and sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from .sizes import Sizes
from .subjects import Subject

SMALL, QUICK = 20_000_000, 12.0
"""Values, and seconds of an earlier sweep, up to which a model can be part of the subset."""
LARGEST = 100_000_000
"""timm has the same architectures in all sizes; beyond this many values only the smallest of a family is built."""


def worth_building(subjects: Iterable[Subject], sizes: Sizes) -> list[Subject]:
    """All of torchvision and transformers; of timm all up to `LARGEST`, and the smallest of each family."""
    subjects = list(subjects)
    smallest = set(smallest_of_families((s for s in subjects if s.library == "timm"), sizes))
    return [s for s in subjects if s.library != "timm" or sizes[s.key].values <= LARGEST or s in smallest]


def subset(subjects: Iterable[Subject], sizes: Sizes) -> list[Subject]:
    """For a test run: the smallest of each family, among the models that are small and quickly examined."""
    known = [s for s in subjects if s.key in sizes and 0 < sizes[s.key].seconds <= QUICK]
    return list(smallest_of_families((s for s in known if sizes[s.key].values <= SMALL), sizes))


def smallest_of_families(subjects: Iterable[Subject], sizes: Sizes) -> Iterator[Subject]:
    """The smallest of each family, by name among equals, in the order of subjects."""
    best: dict[tuple[str, str], Subject] = {}
    for subject in subjects:
        family = subject.library, subject.family
        if family not in best or _order(subject, sizes) < _order(best[family], sizes):
            best[family] = subject
    yield from best.values()


def _order(subject: Subject, sizes: Sizes) -> tuple[int, str]:
    return sizes[subject.key].values, subject.name


def matching(subjects: Iterable[Subject], pattern: str) -> list[Subject]:
    """Those whose `library/name` or name a glob matches."""
    return [s for s in subjects if fnmatchcase(s.key, pattern) or fnmatchcase(s.name, pattern)]
