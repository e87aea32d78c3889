"""The command line: what each command prints, writes and exits with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from autoinit.command_line import main

Command = Callable[..., tuple[int, str, str]]

MODELS = """
import sys
from torch import nn

def small(width=4):
    print("building")
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))

def needy(width, depth): return nn.Linear(width, depth)
def text(): return "not a model"
def leaves(): sys.exit(3)
def fails(): raise RuntimeError("no such preset\\nand more")
number = 3
"""
RULES = "init_cfg:\n- {type: Normal, layer: Linear, std: 0.02}\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path


@pytest.fixture
def run(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in a folder with models and rules: its status, stdout and stderr."""
    monkeypatch.chdir(files)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


def test_plan_prints_the_table_alone(run: Command) -> None:
    status, out, err = run("plan", "models.py:small", "--cfg", "rules.yaml", "--arg", "width=8")
    assert status == 0
    assert "0.weight" in out and "8 x 3" in out and "Normal(mean=0, std=0.02)" in out
    assert "building" not in out and "building" in err


def test_plan_on_the_meta_device_as_json(run: Command) -> None:
    status, out, _ = run("plan", "models.py:small", "--cfg", "rules.yaml", "--meta", "--json")
    assert status == 0
    assert json.loads(out)["parameters"]["0.weight"]["fill"] == "Normal(mean=0.0, std=0.02)"


def test_plan_asks_for_coverage_by_its_status(run: Command, files: Path) -> None:
    (files / "part.yaml").write_text("{type: Normal, name: '0', std: 1}")
    assert run("plan", "models.py:small", "--cfg", "part.yaml")[0] == 0
    assert run("plan", "models.py:small", "--cfg", "part.yaml", "--require-coverage")[0] == 1


def test_init_writes_the_values_of_a_block(run: Command, files: Path) -> None:
    status, out, _ = run("init", "models.py:small", "--cfg", "rules.yaml", "--seed", "3", "-o", "a.safetensors")
    assert status == 0 and "4 filled" in out
    from autoinit import initialize

    expected = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    initialize(expected, "rules.yaml", seed=3)
    written = load_file(files / "a.safetensors")
    assert written.keys() == expected.state_dict().keys()
    assert all(torch.equal(written[name], value) for name, value in expected.state_dict().items())
    assert sorted(path.name for path in files.iterdir() if path.name.startswith(".")) == []


def test_init_replaces_a_file_only_if_asked_to(run: Command, files: Path) -> None:
    (files / "a.safetensors").write_text("mine")
    status, _, err = run("init", "models.py:small", "--cfg", "rules.yaml", "-o", "a.safetensors")
    assert status == 2 and "a.safetensors exists" in err and "--force" in err
    assert "building" not in err  # refused before any work
    assert (files / "a.safetensors").read_text() == "mine"
    assert run("init", "models.py:small", "--cfg", "rules.yaml", "-o", "a.safetensors", "--force")[0] == 0
    assert load_file(files / "a.safetensors")


def test_verify_exits_with_1_for_other_weights(run: Command) -> None:
    assert run("init", "models.py:small", "--cfg", "rules.yaml", "-o", "a.safetensors", "--arg", "width=64")[0] == 0
    same = ("verify", "models.py:small", "--cfg", "rules.yaml", "--arg", "width=64")
    status, out, _ = run(*same, "--weights", "a.safetensors")
    assert status == 0, out
    status, out, _ = run(*same)
    assert status == 1 and "0.weight" in out


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("models.py:smal", "Did you mean 'small'?"),
        ("model.py:small", "no such file. Did you mean 'models.py'?"),
        ("models.py:needy", "needs width, depth. Add --arg width=... --arg depth=..."),
        ("models.py:text", "returned str, not an nn.Module"),
        ("models.py:leaves", "exits with status 3"),
        ("models.py:fails", "RuntimeError: no such preset"),
        ("models.py:number", "a int, which cannot be called"),
        ("models.py", "is not a target. Write package.module:callable"),
        ("no_such_package:model", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("torch.nn:Linear", "needs in_features, out_features"),
    ],
)
def test_a_target_that_builds_no_model(run: Command, target: str, says: str) -> None:
    status, out, err = run("plan", target, "--cfg", "rules.yaml")
    assert status == 2
    assert says in err and "Traceback" not in err and out == ""
    assert len(err.splitlines()) < 20


@pytest.mark.parametrize(
    ("argument", "says"),
    [("widht=3", "Did you mean 'width'?"), ("width", "write name=value"), ("width=[", "invalid YAML")],
)
def test_an_argument_that_the_target_does_not_take(run: Command, argument: str, says: str) -> None:
    status, _, err = run("plan", "models.py:small", "--cfg", "rules.yaml", "--arg", argument)
    assert status == 2 and says in err


def test_debug_shows_where_an_error_comes_from(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    with pytest.raises(ValueError, match="no such preset"):
        main(["plan", "models.py:fails", "--cfg", "rules.yaml", "--debug"])


def test_an_unknown_option_is_an_error_of_one_screen(run: Command) -> None:
    status, _, err = run("plan", "models.py:small", "--cgf", "rules.yaml")
    assert status == 2 and "--cgf" in err and len(err.splitlines()) < 20


def test_a_config_with_an_error_changes_nothing(run: Command, files: Path) -> None:
    (files / "rules.yaml").write_text("{type: Normal, layer: Linaer}")
    status, _, err = run("init", "models.py:small", "--cfg", "rules.yaml", "-o", "a.safetensors")
    assert status == 2 and "Linear" in err
    assert not (files / "a.safetensors").exists()


def test_a_closed_pipe_is_no_error(files: Path) -> None:
    command = f"{sys.executable} -m autoinit schema"
    shell = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -n 1"],
        cwd=files,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (shell.returncode, shell.stdout, shell.stderr) == (0, "{\n", "")


def test_without_typer_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match="2"):
        main(["check", "a.yaml"])
    assert "pip install 'torch-autoinit[cli]'" in capsys.readouterr().err
