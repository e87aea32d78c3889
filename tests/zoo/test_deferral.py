"""A hundred models under rules for some of their parameters, deferred; all but a few of them by `make families`."""

from __future__ import annotations

import pytest

from .deferral import examine
from .isolation import Worker
from .subjects import LIBRARIES, Subject
from .test_subset import LIMITS, SUBSET, sampled

HUNDRED = [
    subject
    for name in LIBRARIES
    for subject in [each for each in SUBSET if each.library == name][: {"torchvision": 20}.get(name, 40)]
]


@pytest.mark.parametrize("subject", sampled(HUNDRED, every=3))
def test_nothing_is_lost_and_everything_has_its_distribution(subject: Subject) -> None:
    findings = Worker(examine, subject.library, subject.name, limits=LIMITS).wait()
    assert findings.built
    assert findings.problems == []
    assert findings.tests > 0


def test_they_are_a_hundred() -> None:
    assert len(HUNDRED) == 100
