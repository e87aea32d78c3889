"""`autoinit trace` and `autoinit diff`: what a model's own code does, and what two of them do differently."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from autoinit import plan
from autoinit.command_line.building import builder

from .conftest import Command


def test_trace_prints_calls_with_their_lines(run: Command) -> None:
    status, out, err = run("trace", "models.py:small")
    assert status == 0
    assert "kaiming_uniform_(a=2.236)" in out and "linear.py:" in out
    assert "building" not in out and "building" in err


def test_trace_as_json(run: Command) -> None:
    (call,) = json.loads(run("trace", "models.py:small", "--json")[1])["parameters"]["0.weight"]["calls"]
    assert (call["function"], call["layer"], call["overwritten"]) == ("kaiming_uniform_", "Linear", False)


def test_trace_writes_a_config_that_does_the_same(run: Command, files: Path) -> None:
    with_config = ("trace", "models.py:own", "--to-cfg", "same.yaml")
    assert run(*with_config)[0] == 0
    decided = plan(builder("models.py:own", meta=True)(), "same.yaml")
    assert decided.uncovered == ()
    status, _, err = run(*with_config)
    assert status == 2 and "same.yaml exists" in err


def test_trace_in_a_block_shows_what_rules_replace(run: Command) -> None:
    (constructor, rule) = json.loads(run("trace", "models.py:small", "--cfg", "rules.yaml", "--json")[1])["parameters"][
        "0.weight"
    ]["calls"]
    assert constructor["overwritten"] and not rule["overwritten"]


def test_diff_of_two_configs(run: Command) -> None:
    status, out, _ = run("diff", "models.py:small", "--cfg", "rules.yaml", "--cfg", "wide.yaml")
    assert status == 1
    assert "{0,2}.weight  fill  Normal(0, 0.02)  Normal(0, 0.5)  x2" in out
    status, out, _ = run("diff", "models.py:small", "--cfg", "rules.yaml", "--cfg", "rules.yaml", "--meta")
    assert (status, out) == (0, "0 of 4 parameters differ\n")


def test_diff_of_two_models(run: Command) -> None:
    status, out, _ = run("diff", "models.py:small", "models.py:own")
    assert status == 1 and "(missing)" in out
    assert run("diff", "models.py:small", "models.py:small")[0] == 0


@pytest.mark.parametrize("command", [["trace"], ["plan", "--cfg", "rules.yaml"]])
def test_diff_of_saved_results(run: Command, files: Path, command: list[str]) -> None:
    first, *rest = command
    for name, width in (("a", 4), ("b", 5)):
        saved = run(first, "models.py:small", *rest, "--json", "--arg", f"width={width}")[1]
        (files / f"{name}.json").write_text(saved)
    assert run("diff", "a.json", "a.json")[0] == 0
    assert run("diff", "a.json", "models.py:small", *rest)[0] == 0
    status, out, _ = run("diff", "a.json", "b.json")
    assert status == 1 and "4 x 3" in out and "5 x 3" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["models.py:small"], "not 1 with 0 configs"),
        (["a.json", "models.py:small"], "a.json is no result"),
        (["b.json", "models.py:small"], "b.json cannot be read"),
        (["none.json", "models.py:small"], "none.json cannot be read"),
    ],
)
def test_what_cannot_be_compared(run: Command, files: Path, arguments: list[str], says: str) -> None:
    (files / "a.json").write_text("[]")
    (files / "b.json").write_text("{")
    status, out, err = run("diff", *arguments)
    assert (status, out) == (2, "") and says in err


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["plan", "models.py:small", "--cfg", "rules.yaml"], 0),
        (["plan", "models.py:small", "--cfg", "rules.yaml", "--meta"], 0),
        (["trace", "models.py:small"], 0),
        (["init", "models.py:small", "--cfg", "rules.yaml", "-o", "a.safetensors"], 0),
        (["verify", "models.py:small", "--cfg", "rules.yaml"], 1),
        (["diff", "models.py:small", "--cfg", "rules.yaml", "--cfg", "wide.yaml"], 1),
    ],
)
def test_every_result_has_a_page(run: Command, files: Path, arguments: list[str], status: int) -> None:
    before = torch.get_rng_state()
    found, _, err = run(*arguments, "--html", "a.html")
    torch.set_rng_state(before)
    assert found == status and "wrote a.html" in err
    text = (files / "a.html").read_text()
    assert "0.weight" in text and "Sequential" in text
    assert ("kaiming_uniform_" in text) == (arguments[0] != "diff")
    status, _, err = run(*arguments, "--html", "a.html")
    assert status == 2 and "exists" in err
