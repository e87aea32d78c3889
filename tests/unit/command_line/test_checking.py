"""`autoinit check`: every error of a file, where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoinit.command_line.checking import problems

WRONG = """\
init_cfg:
  - type: Kaimming
    layer: Conv2d
  - type: Normal
    layer: Linear
    sdt: 0.1
    std: -1
    override:
      - {name: head, type: Constant}
      - {type: Normal}
      - {name: neck, type: Constant, val: 1, vall: 2}
  - 3
  - type: TruncNormal
    std: abc
    params: 3
  - {type: Normal, layer: Linear}
"""


def found(tmp_path: Path, text: str, name: str = "wrong.yaml") -> list[str]:
    file = tmp_path / name
    file.write_text(text)
    return [str(problem).removeprefix(str(tmp_path) + "/") for problem in problems(file)]


def test_every_error_has_its_line_and_column(tmp_path: Path) -> None:
    assert [line.partition(": init_cfg")[0] for line in found(tmp_path, WRONG)] == [
        "wrong.yaml:2:5",
        "wrong.yaml:6:5",
        "wrong.yaml:7:5",
        "wrong.yaml:9:9",
        "wrong.yaml:10:9",
        "wrong.yaml:11:46",
        "wrong.yaml:12:5",
        "wrong.yaml:14:5",
        "wrong.yaml:15:5",
    ]


def test_an_argument_with_a_wrong_value_is_not_missing_too(tmp_path: Path) -> None:
    (line,) = found(tmp_path, "- {type: Constant, layer: Linear, val: x}")
    assert line == "wrong.yaml:1:35: init_cfg[0]: Constant: val='x' must be a number, not str."


def test_json_has_lines_as_well(tmp_path: Path) -> None:
    (line,) = found(tmp_path, '[\n  {"type": "Normal",\n   "std": -1}\n]', "wrong.json")
    assert line.startswith("wrong.json:3:4: init_cfg[0]: Normal: std=-1")


def test_toml_names_the_rule(tmp_path: Path) -> None:
    (line,) = found(tmp_path, '[[init_cfg]]\ntype = "Normal"\nstd = -1\n', "wrong.toml")
    assert line == "wrong.toml: init_cfg[0]: Normal: std=-1 must be at least 0."


@pytest.mark.parametrize(("text", "place"), [("a: [1,\nb", "wrong.yaml:2:"), ("a: 1\na: 2", "wrong.yaml: key 'a'")])
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str, place: str) -> None:
    (line,) = found(tmp_path, text)
    assert line.startswith(place)


def test_a_file_without_errors(tmp_path: Path) -> None:
    assert found(tmp_path, "{type: Normal, layer: Linear}") == []
