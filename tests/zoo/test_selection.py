"""Which models are examined."""

from __future__ import annotations

import pytest

from . import __main__ as command
from .selection import EVERY, matching, smallest_of_families, subset, worth_building
from .sizes import SIZED, read_sizes
from .subjects import LIBRARIES, Subject, library

MODELS = {
    ("timm", "resnet18", "resnet"): 11,
    ("timm", "resnet152", "resnet"): 120,
    ("timm", "eva_large", "eva"): 300,
    ("timm", "eva_giant", "eva"): 1000,
    ("torchvision", "vit_h_14", "vision_transformer"): 632,
}
SUBJECTS = [Subject(library=lib, name=name, family=family) for lib, name, family in MODELS]
SIZES = {f"{lib}/{name}": float(millions) for (lib, name, _), millions in MODELS.items()}


def names(subjects: object) -> list[str]:
    return [subject.name for subject in subjects]


def test_of_timm_the_large_ones_are_built_where_a_family_has_no_smaller() -> None:
    assert names(worth_building(SUBJECTS, SIZES)) == ["resnet18", "eva_large", "vit_h_14"]


def test_the_smallest_of_a_family_is_the_first_by_name_among_equals() -> None:
    sizes = SIZES | {"timm/resnet152": SIZES["timm/resnet18"]}
    assert names(smallest_of_families(SUBJECTS, sizes)) == ["resnet152", "eva_large", "vit_h_14"]


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [("resnet*", ["resnet18", "resnet152"]), ("timm/*large", ["eva_large"]), ("torchvision/*", ["vit_h_14"])],
)
def test_a_glob_is_over_names_with_or_without_the_library(pattern: str, matched: list[str]) -> None:
    assert names(matching(SUBJECTS, pattern)) == matched


def test_the_subset_is_the_smallest_of_each_family_if_it_is_small() -> None:
    sizes = {"timm/resnet18": 11.0, "timm/resnet152": 12.0, "timm/eva_large": 300.0, "timm/eva_giant": 900.0}
    # The size of the model of torchvision is not known.
    assert names(subset(SUBJECTS, sizes)) == ["resnet18"]


def test_where_all_models_are_small_the_subset_has_one_of_every_few_families() -> None:
    families = [f"family{number}" for number in range(2 * EVERY + 1)]
    subjects = [Subject(library="transformers", name=n, family=f) for f in families for n in (f"{f}:A", f"{f}:B")]
    assert names(subset(subjects, {})) == ["family0:A", f"family{EVERY}:A", f"family{2 * EVERY}:A"]


@pytest.mark.parametrize("name", LIBRARIES)
def test_every_library_has_subjects_of_its_own_under_different_names(name: str) -> None:
    subjects = library(name).subjects()
    assert len({subject.key for subject in subjects}) == len(subjects) > 100
    assert {subject.library for subject in subjects} == {name}
    assert subjects == library(name).subjects()


@pytest.mark.parametrize("name", SIZED)
def test_every_model_has_a_size(name: str) -> None:
    keys = {subject.key for subject in library(name).subjects()}
    assert keys == {key for key in read_sizes() if key.startswith(f"{name}/")}


def test_options_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dict(ONLY="timm,transformers", MATCH="vit*", JOBS="3", MEMORY="1000", SECONDS="5").items():
        monkeypatch.setenv(f"ZOO_{name}", value)
    options = command.parse([])
    assert (options.only, options.match) == (["timm", "transformers"], "vit*")
    assert (options.jobs, options.memory, options.seconds, bool(options.smallest)) == (3, 1000, 5.0, False)
    assert command.parse(["--only", "timm", "-j", "1"]).only == ["timm"]


def test_a_library_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.parse(["--only", "tim"])
    assert "no library 'tim'" in capsys.readouterr().err
