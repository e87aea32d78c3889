"""What a sweep keeps on disk, and what the next one makes of it: resumption, exceptions, sizes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .exceptions import FILE, Accepted, read_exceptions, stale, unaccepted
from .findings import Difference, Findings, Problem, problems_of
from .progress import PER_MILLION, PER_MODEL, Progress, expected_seconds
from .records import Record, Records, circumstances
from .sizes import count, read_sizes, write_sizes
from .subjects import Subject


def subject(name: str, library: str = "timm", family: str = "resnet") -> Subject:
    return Subject(library=library, name=name, family=family)


def record(name: str, *problems: Problem, library: str = "timm", **findings: object) -> Record:
    return Record(subject=subject(name, library), findings=Findings(model="Net", problems=list(problems), **findings))


ERROR = Problem(check="typical", text="error: ValueError: no such layer")
HERE = {"torch": "2.13", "sources": "abc"}


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "build" / "zoo.jsonl"
    first = Records(path, HERE)
    first.add(
        record("a", ERROR, seconds={"plain": 0.5}, coverage={"typical": {"uncovered": [["L", "w", "no rule", 1, 2]]}})
    )
    second = Records(path, HERE)
    assert list(second) == list(first)
    assert subject("a") in second
    assert subject("b") not in second
    second.add(record("b"))
    assert [each.subject.name for each in Records(path, HERE)] == ["a", "b"]


def test_half_a_line_is_what_an_interruption_may_leave(tmp_path: Path) -> None:
    path = tmp_path / "zoo.jsonl"
    records = Records(path, HERE)
    records.add(record("a"))
    records.add(record("b"))
    path.write_text(path.read_text()[:-20])
    again = Records(path, HERE)
    assert [each.subject.name for each in again] == ["a"]
    again.add(record("c"))
    assert [each.subject.name for each in Records(path, HERE)] == ["a", "c"]


def test_a_sweep_of_other_code_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "zoo.jsonl"
    Records(path, HERE).add(record("a"))
    assert len(Records(path, HERE | {"sources": "def"})) == 0
    assert len(Records(path, HERE)) == 0


def test_findings_depend_on_versions_and_on_code() -> None:
    found = circumstances()
    assert found.keys() == {"torch", "torchvision", "timm", "transformers", "python", "sources"}
    assert found == circumstances()


def test_problems_are_one_for_each_kind_and_for_each_that_is_to_blame() -> None:
    found = [Difference("tensors", name, "changed") for name in "abcde"] + [Difference("ties", "f", "cut")]
    known = [Difference("tensors", "e", "another text"), Difference("ties", "a", "cut")]
    assert problems_of("identity", found, known) == [
        Problem(check="identity", text="tensors (4): a: changed; b: changed; c: changed"),
        Problem(check="identity", text="tensors (1): e: changed", theirs=True),
        Problem(check="identity", text="ties (1): f: cut"),
    ]


def test_the_file_of_exceptions_can_be_read() -> None:
    assert all(accepted.reason.strip() for accepted in read_exceptions())
    assert FILE.exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("check = 'typicl'", ValueError, "check='typicl' is none of plain, identity, typical, everything"),
        ("model = '*/a'", ValueError, "model='*/a' begins with none of torchvision, timm, transformers"),
        ("reason = ' '", ValueError, "the exception for 'timm/a' has no reason"),
        ("modell = 'timm/b'", TypeError, "modell"),
    ],
)
def test_an_exception_that_says_too_little_or_nothing_known_is_refused(
    tmp_path: Path, change: str, error: type[Exception], message: str
) -> None:
    lines = ["model = 'timm/a'", "check = 'typical'", "problem = '*'", "reason = 'known'"]
    key = change.split()[0]
    kept = [line for line in lines if line.split()[0] != key]
    path = tmp_path / "exceptions.toml"
    path.write_text("\n".join(["[[exception]]", *kept, change]))
    with pytest.raises(error, match=re.escape(message)):
        read_exceptions(path)


@pytest.mark.parametrize(
    ("model", "check", "problem", "covered"),
    [
        ("timm/a", "typical", "error: ValueError: *", True),
        ("timm/*", "typical", "*", True),
        ("timm/a", "*", "error: *", True),
        ("timm/ab", "typical", "*", False),
        ("timm/a", "identity", "*", False),
        ("timm/a", "typical", "error: TypeError: *", False),
    ],
)
def test_an_exception_covers_one_problem_of_one_check(model: str, check: str, problem: str, covered: bool) -> None:
    accepted = Accepted(model=model, check=check, problem=problem, reason="known")
    other = Problem(check="everything", text="ties (1): a: cut")
    left = unaccepted(record("a", ERROR, other), [accepted])
    assert left == ([other] if covered else [ERROR, other])


def test_an_exception_that_no_longer_occurs_is_stale() -> None:
    everything = [subject("a"), subject("b"), subject("c")]
    one = Accepted(model="timm/a", check="typical", problem="*", reason="known")
    many = Accepted(model="timm/*", check="typical", problem="*", reason="known")
    assert stale([one, many], [record("a", ERROR), record("b"), record("c")], everything) == []
    assert stale([one, many], [record("a"), record("b"), record("c", ERROR)], everything) == [one]
    # Not all that it is about has been examined.
    assert stale([one, many], [record("a"), record("b")], everything) == [one]
    assert stale([one, many], [record("b")], everything) == []


def test_an_exception_about_no_model_is_stale() -> None:
    gone = Accepted(model="timm/renamed", check="typical", problem="*", reason="known")
    assert stale([gone], [record("a")], [subject("a")]) == [gone]
    # Unless it is about a library that this sweep left out.
    assert stale([gone], [record("a", library="torchvision")], [subject("a", library="torchvision")]) == []


def test_sizes_are_kept_a_line_a_family(tmp_path: Path) -> None:
    path = tmp_path / "sizes.json"
    subjects = [subject("b"), subject("a"), subject("vit", family="vit"), subject("a", library="transformers")]
    write_sizes(subjects, {"timm/a": 1.234, "timm/b": 20.0, "timm/vit": 5.7}, path)
    assert path.read_text() == '{\n"timm/resnet": {"a": 1.23, "b": 20.0},\n"timm/vit": {"vit": 5.7}\n}\n'
    assert read_sizes(path) == {"timm/a": 1.23, "timm/b": 20.0, "timm/vit": 5.7}
    assert read_sizes(tmp_path / "none.json") == {}


def test_sizes_of_other_libraries_are_kept_and_those_of_models_that_are_gone_are_not(tmp_path: Path) -> None:
    path = tmp_path / "sizes.json"
    there = [subject("a"), subject("b"), subject("c", library="torchvision")]
    write_sizes(there, {"timm/a": 1.0, "timm/b": 2.0, "torchvision/c": 3.0}, path)
    write_sizes([subject("b")], {"timm/b": 4.0}, path)
    assert read_sizes(path) == {"timm/b": 4.0, "torchvision/c": 3.0}


def test_a_model_is_counted_as_it_is_in_the_file() -> None:
    values = count(lambda check, findings: None, "torchvision", "squeezenet1_1").values
    assert round(values / 1e6, 2) == read_sizes()["torchvision/squeezenet1_1"] == 1.24


def test_a_duration_is_estimated_from_sizes() -> None:
    sizes = {"timm/a": 10.0, "timm/b": 30.0}
    expected = expected_seconds([subject("a"), subject("b")], sizes, jobs=2)
    assert expected == pytest.approx(PER_MODEL + PER_MILLION * 20)
    # What is in no file is small.
    assert expected_seconds([subject("c", library="transformers")], sizes, jobs=1) == PER_MODEL


def test_an_estimate_follows_the_pace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    sizes = {f"timm/{name}": (100 - PER_MODEL) / PER_MILLION for name in "abcd"}
    progress = Progress([subject(name) for name in "abcd"], sizes, jobs=1)
    assert progress.left == pytest.approx(400)
    now[0] += 200
    progress.done(subject("a"))
    assert progress.left == pytest.approx(600)
    assert capsys.readouterr().out == "1 of 4, about 10 min left: timm/a\n"


def test_records_are_json() -> None:
    given = record("a", ERROR, unfilled=["w"])
    assert Record.from_dict(json.loads(json.dumps(given.to_dict()))) == given
