"""A small model of many families of every library, examined as `make zoo` examines all; most by `make families`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from .examination import examine
from .exceptions import read_exceptions, unaccepted
from .isolation import Limits, Worker
from .selection import subset
from .sizes import read_sizes
from .subjects import LIBRARIES, Subject, library

LIMITS = Limits(seconds=300, memory=6144)
EXCEPTIONS = read_exceptions()
SUBSET = subset((subject for name in LIBRARIES for subject in library(name).subjects()), read_sizes())


def sampled(subjects: Sequence[Subject], every: int) -> list[object]:
    """All subjects as parameters of a test; but for one in so many they are of the campaign `make families`."""
    return [
        pytest.param(subject, id=subject.key, marks=pytest.mark.campaign if index % every else pytest.mark.slow)
        for index, subject in enumerate(subjects)
    ]


@pytest.mark.parametrize("subject", sampled(SUBSET, every=3))
def test_a_model_is_the_same_without_rules_and_gets_what_its_rules_say(subject: Subject) -> None:
    findings = Worker(examine, subject.library, subject.name, limits=LIMITS).wait()
    problems = unaccepted(subject, findings, EXCEPTIONS)
    texts = [f"{'theirs' if each.theirs else 'ours'}, {each.check}: {each.text}" for each in problems]
    assert not texts, f"{subject.key} ({findings.model or 'not built'}):\n" + "\n".join(texts)


def test_the_subset_has_models_of_many_families_of_every_library() -> None:
    families = Counter(subject.library for subject in SUBSET)
    assert families.keys() == LIBRARIES.keys()
    assert families["torchvision"] > 20
    assert families["timm"] > 70
    assert families["transformers"] > 100
