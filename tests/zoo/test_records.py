"""The files of a sweep, from which the next one resumes; exceptions, sizes and tables."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from . import __main__ as command
from .exceptions import FILE, Accepted, read_exceptions, stale, unaccepted
from .findings import Difference, Findings, Problem, problems_of
from .progress import Progress
from .records import Records, circumstances, from_dict, to_dict
from .sizes import count, read_sizes, write_sizes
from .subjects import Subject
from .tables import all_tables

ERROR = Problem(check="typical", text="error: ValueError: no such layer")
HERE = {"torch": "2.13", "sources": "abc"}


def subject(name: str, library: str = "timm", family: str = "resnet") -> Subject:
    return Subject(library=library, name=name, family=family)


def found(*problems: Problem, **findings: object) -> Findings:
    return Findings(model="Net", problems=list(problems), **findings)


def names(records: Records) -> list[str]:
    return [each.name for each in records]


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "build" / "zoo.jsonl"
    first = Records(path, HERE)
    uncovered = {"typical": {"uncovered": [["L", "w", "no rule", 1, 2]]}}
    first.add(subject("a"), found(ERROR, seconds={"plain": 0.5}, coverage=uncovered, unfilled=["w"]))
    second = Records(path, HERE)
    assert second == first and subject("b") not in second
    second.add(subject("b"), found())
    assert names(Records(path, HERE)) == ["a", "b"]
    # Half a line is what an interruption may leave.
    path.write_text(path.read_text()[:-20])
    third = Records(path, HERE)
    assert names(third) == ["a"]
    third.add(subject("c"), found())
    assert names(Records(path, HERE)) == ["a", "c"]
    assert from_dict(json.loads(json.dumps(to_dict(subject("a"), third[subject("a")])))) == (*first.items(),)[0]


def test_a_sweep_of_other_code_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "zoo.jsonl"
    Records(path, HERE).add(subject("a"), found())
    assert not Records(path, HERE | {"sources": "def"})
    assert not Records(path, HERE)


def test_findings_depend_on_versions_and_on_code() -> None:
    assert circumstances().keys() == {"torch", "torchvision", "timm", "transformers", "python", "sources"}
    assert circumstances() == circumstances()


def test_problems_are_one_for_each_kind_and_for_each_that_is_to_blame() -> None:
    differences = [Difference("tensors", name, "changed") for name in "abcde"] + [Difference("ties", "f", "cut")]
    known = [Difference("tensors", "e", "another text"), Difference("ties", "a", "cut")]
    assert problems_of("identity", differences, known) == [
        Problem(check="identity", text="tensors (4): a: changed; b: changed; c: changed"),
        Problem(check="identity", text="tensors (1): e: changed", theirs=True),
        Problem(check="identity", text="ties (1): f: cut"),
    ]


def test_the_file_of_exceptions_can_be_read() -> None:
    assert FILE.exists() and read_exceptions()


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
    kept = [line for line in lines if line.split()[0] != change.split()[0]]
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
    left = unaccepted(subject("a"), found(ERROR, other), [accepted])
    assert left == ([other] if covered else [ERROR, other])


def test_an_exception_that_no_longer_occurs_is_stale() -> None:
    a, b, c = everything = [subject(name) for name in "abc"]
    one, many, gone = (
        Accepted(model=f"timm/{name}", check="typical", problem="*", reason="known") for name in ("a", "*", "renamed")
    )
    assert stale([one, many], {a: found(ERROR), b: found(), c: found()}, everything) == []
    assert stale([one, many], {a: found(), b: found(), c: found(ERROR)}, everything) == [one]
    # Not all that it is about has been examined.
    assert stale([one, many], {a: found(), b: found()}, everything) == [one]
    assert stale([one, many], {b: found()}, everything) == []
    # It is about no model, or about a library that this sweep left out.
    assert stale([gone], {a: found()}, [a]) == [gone]
    assert stale([gone], {}, [subject("a", library="torchvision")]) == []


def test_sizes_are_kept_a_line_a_family(tmp_path: Path) -> None:
    path = tmp_path / "sizes.json"
    assert read_sizes(path) == {}
    subjects = [subject("b"), subject("a"), subject("vit", family="vit"), subject("a", library="transformers")]
    write_sizes(subjects, {"timm/a": 1.234, "timm/b": 20.0, "timm/vit": 5.7}, path)
    assert path.read_text() == '{\n"timm/resnet": {"a": 1.23, "b": 20.0},\n"timm/vit": {"vit": 5.7}\n}\n'
    assert read_sizes(path) == {"timm/a": 1.23, "timm/b": 20.0, "timm/vit": 5.7}
    # Sizes of other libraries stay, sizes of models that are gone do not.
    write_sizes([subject("c", library="torchvision")], {"torchvision/c": 3.0}, path)
    write_sizes([subject("b")], {"timm/b": 4.0}, path)
    assert read_sizes(path) == {"timm/b": 4.0, "torchvision/c": 3.0}


def test_a_model_is_counted_as_it_is_in_the_file() -> None:
    values = count(lambda check, findings: None, "torchvision", "squeezenet1_1").values
    assert round(values / 1e6, 2) == read_sizes()["torchvision/squeezenet1_1"] == 1.24


def test_the_rest_is_estimated_from_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = Progress([subject(name) for name in "abcd"])
    now[0] += 200
    progress.done(subject("a"))
    assert capsys.readouterr().out == "1 of 4, about 10 min left: timm/a\n"


GOOD = Findings(
    model="Net",
    parameters=4,
    values=100,
    pending=90,
    unfilled=["w", "v"],
    coverage={
        "typical": {"filled": 3, "values": 75, "uncovered": [["Experts", "gate_up_proj", "no rule", 1, 25]]},
        "everything": {"filled": 4, "values": 100, "uncovered": []},
    },
    seconds={"plain": 1.0, "identity": 1.5, "typical": 2.0, "everything": 3.0},
)
OURS = Problem(check="identity", text="ties (1): a: cut")
THEIRS = Problem(check="plain", text="error: ImportError: natten", theirs=True)


def test_the_tables_count_what_was_found() -> None:
    sweep = {
        subject("a"): GOOD,
        subject("b"): replace(GOOD, problems=[OURS]),
        subject("c"): Findings(problems=[THEIRS]),
    }
    accepted = Accepted(model="timm/c", check="plain", problem="*", reason="natten is not here")
    tables = {table.title: table for table in all_tables(sweep, [accepted], [], HERE)}
    totals = tables["The zoo, torch 2.13"]
    values = "timm 3 2 1 8 90.00% 75.00% 75.00% 100.00% 1 0 1 2.0_s 3.0_s 4.0_s 6.0_s"
    assert totals.rows == [tuple(value.replace("_", " ") for value in values.split())]
    assert totals.columns == (
        *("library", "tried", "built", "identical", "parameters", "deferred", "filled by type", "of values"),
        *("filled by **", "ours", "theirs", "accepted", "plain", "no rules", "by type", "**"),
    )
    assert tables["Not filled by the rules of 'typical'"].rows == [
        ("Experts", "gate_up_proj", "no rule", "2", "50", "2", "timm/a")
    ]
    assert tables["Why parameters were not filled"].rows == [("typical", "timm", "no rule", "2")]
    assert tables["Left unfilled by their constructors"].rows == [("timm/a", "2", "w"), ("timm/b", "2", "w")]
    assert tables["Problems"].rows == [("timm/b", "identity", "OURS", "ties (1): a: cut")]
    assert tables["Slowest in a block"].rows[0] == ("timm/a", "everything", "1.00 s", "3.00 s", "4", "100")


@pytest.mark.parametrize("problems", [[], [OURS]])
def test_the_command_fails_if_a_problem_is_not_accepted(problems: list[Problem]) -> None:
    assert command.show({subject("a"): replace(GOOD, problems=problems)}, [], {}) == len(problems)
