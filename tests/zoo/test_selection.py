"""Which models are examined, and what the tables say of them."""

from __future__ import annotations

import pytest

from . import __main__ as command
from .exceptions import Accepted
from .findings import Findings, Problem
from .records import Record
from .selection import EVERY, matching, smallest_of_families, subset, worth_building
from .sizes import SIZED, read_sizes
from .subjects import LIBRARIES, Subject, library
from .tables import all_tables

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
    assert (options.only, options.match, options.jobs, options.memory, options.seconds) == (
        ["timm", "transformers"],
        "vit*",
        3,
        1000,
        5.0,
    )
    assert command.parse(["--only", "timm", "-j", "1"]).only == ["timm"]


def test_a_library_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.parse(["--only", "tim"])
    assert "no library 'tim'" in capsys.readouterr().err


COVERAGE = {
    "typical": {"filled": 3, "values": 75, "uncovered": [["Experts", "gate_up_proj", "no rule", 1, 25]]},
    "everything": {"filled": 4, "values": 100, "uncovered": []},
}
SECONDS = {"plain": 1.0, "identity": 1.5, "typical": 2.0, "everything": 3.0}
GOOD = Findings(
    model="Net", parameters=4, values=100, pending=90, coverage=COVERAGE, seconds=SECONDS, unfilled=["w", "v"]
)
OURS = Problem(check="identity", text="ties (1): a: cut")
THEIRS = Problem(check="plain", text="error: ImportError: natten", theirs=True)


def test_the_tables_count_what_was_found() -> None:
    records = [
        Record(subject=Subject(library="timm", name="a", family="f"), findings=GOOD),
        Record(
            subject=Subject(library="timm", name="b", family="f"),
            findings=Findings(**{**vars(GOOD), "problems": [OURS]}),
        ),
        Record(subject=Subject(library="timm", name="c", family="f"), findings=Findings(problems=[THEIRS])),
    ]
    accepted = Accepted(model="timm/c", check="plain", problem="*", reason="natten is not here")
    versions = {"torch": "2.13", "sources": "abc"}
    tables = {table.title: table for table in all_tables(records, [accepted], [], versions)}
    [row] = tables["The zoo, torch 2.13"].rows
    columns = tables["The zoo, torch 2.13"].columns
    assert dict(zip(columns, row, strict=True)) == {
        "library": "timm",
        "tried": "3",
        "built": "2",
        "identical": "1",
        "parameters": "8",
        "deferred": "90.00%",
        "filled by type": "75.00%",
        "of values": "75.00%",
        "filled by **": "100.00%",
        "ours": "1",
        "theirs": "0",
        "accepted": "1",
        "plain": "2.0 s",
        "no rules": "3.0 s",
        "by type": "4.0 s",
        "**": "6.0 s",
    }
    assert tables["Not filled by the rules of 'typical'"].rows == [
        ("Experts", "gate_up_proj", "no rule", "2", "50", "2", "timm/a")
    ]
    assert tables["Why parameters were not filled"].rows == [("typical", "timm", "no rule", "2")]
    assert tables["Left unfilled by their constructors"].rows == [("timm/a", "2", "w"), ("timm/b", "2", "w")]
    assert tables["Problems"].rows == [("timm/b", "identity", "OURS", "ties (1): a: cut")]
    assert tables["Slowest in a block"].rows[0] == ("timm/a", "everything", "1.00 s", "3.00 s", "4", "100")


@pytest.mark.parametrize("problem", [None, OURS])
def test_the_command_fails_if_a_problem_is_not_accepted(problem: Problem | None) -> None:
    findings = Findings(**{**vars(GOOD), "problems": [problem] if problem else []})
    record = Record(subject=Subject(library="timm", name="a", family="f"), findings=findings)
    assert command.show([record], [], {}) == (1 if problem else 0)
