"""A small model of many families of every library, examined as `make zoo` examines all of them."""

from __future__ import annotations

from collections import Counter

import pytest

from .examination import examine
from .exceptions import read_exceptions, unaccepted
from .isolation import Limits, Worker
from .records import Record
from .selection import subset
from .sizes import read_sizes
from .subjects import LIBRARIES, Subject, library

pytestmark = pytest.mark.slow

LIMITS = Limits(seconds=300, memory=6144)
EXCEPTIONS = read_exceptions()
SUBSET = subset((subject for name in LIBRARIES for subject in library(name).subjects()), read_sizes())


@pytest.mark.parametrize("subject", SUBSET, ids=lambda subject: subject.key)
def test_a_model_is_the_same_without_rules_and_gets_what_its_rules_say(subject: Subject) -> None:
    findings = Worker(examine, subject.library, subject.name, limits=LIMITS).wait()
    problems = unaccepted(Record(subject=subject, findings=findings), EXCEPTIONS)
    if problems:
        texts = [f"{'theirs' if each.theirs else 'ours'}, {each.check}: {each.text}" for each in problems]
        pytest.fail(f"{subject.key} ({findings.model or 'not built'}):\n" + "\n".join(texts), pytrace=False)


def test_the_subset_has_models_of_many_families_of_every_library() -> None:
    families = Counter(subject.library for subject in SUBSET)
    assert families.keys() == LIBRARIES.keys()
    assert families["torchvision"] > 20
    assert families["timm"] > 70
    assert families["transformers"] > 100
