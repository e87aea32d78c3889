"""The command line: what each command prints, writes and exits with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from autoinit.command_line import main

from .conftest import Command


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


def test_the_seed_decides_every_value(run: Command, files: Path) -> None:
    (files / "part.yaml").write_text("{type: Normal, name: '0', std: 1}")
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        arguments = ("--cfg", "part.yaml", "--seed", seed, "-o", f"{name}.safetensors")
        assert run("init", "models.py:small", *arguments)[0] == 0
    a, b, c = (load_file(files / f"{name}.safetensors") for name in "abc")
    assert all(torch.equal(a[name], b[name]) and not torch.equal(a[name], c[name]) for name in ("0.weight", "2.weight"))


def test_without_a_config_the_modules_have_theirs(run: Command, files: Path) -> None:
    status, out, _ = run("plan", "models.py:own")
    assert status == 0 and "Constant(value=3)" in out
    assert run("init", "models.py:own", "-o", "a.safetensors")[0] == 0
    assert load_file(files / "a.safetensors")["0.weight"].tolist() == [[3, 3], [3, 3]]


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
        ("json.py:small", "no such file"),
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


@pytest.mark.parametrize("target", ["models.py:Sized", "models.py:OldSized"])
def test_a_config_object_is_built_by_its_class(run: Command, target: str) -> None:
    status, out, err = run("plan", target)
    assert (status, err) == (0, "sizes = Sizes()\n") and "4 x 3" in out
    status, out, err = run("plan", target, "--arg", "sizes.width=7")
    assert (status, err) == (0, "sizes = Sizes(width=7)\n") and "7 x 3" in out


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("sizes.wide=7", "error: models.py:Sized: sizes: TypeError: Sizes.__init__() got an unexpected keyword"),
        ("sizes.width=0", "error: models.py:Sized: sizes: ValueError: width must be positive"),
        ("size.width=7", "has no argument 'size'. Did you mean 'sizes'?"),
        ("sizes.=7", "write name=value"),
    ],
)
def test_a_config_object_that_cannot_be_built(run: Command, argument: str, says: str) -> None:
    status, _, err = run("plan", "models.py:Sized", "--arg", argument)
    assert status == 2 and says in err


def test_a_path_or_number_that_a_target_needs_is_not_made_up(run: Command) -> None:
    status, _, err = run("plan", "models.py:at")
    assert status == 2 and "needs path, factor" in err


def test_debug_shows_where_an_error_comes_from(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    with pytest.raises(ValueError, match="no such preset"):
        main(["plan", "models.py:fails", "--cfg", "rules.yaml", "--debug"])


def test_an_error_of_the_target_names_its_line(run: Command, files: Path) -> None:
    line = (
        (files / "models.py")
        .read_text()
        .split("\n")
        .index('def fails(): raise RuntimeError("no such preset\\nand more")')
    )
    err = run("plan", "models.py:fails")[2]
    assert f"models.py:{line + 1}: def fails(): raise" in err


def test_a_model_that_was_built_before_the_block_is_not_initialized(run: Command) -> None:
    status, _, err = run("init", "models.py:built", "-o", "a.safetensors")
    assert status == 2 and "returned a Linear and built no model that still exists" in err


def test_the_report_is_that_of_the_model_that_is_returned(run: Command) -> None:
    status, out, _ = run("init", "models.py:several", "--cfg", "rules.yaml", "-o", "a.safetensors")
    assert status == 0 and out.startswith("Report of Sequential by rules.yaml\n") and "4 filled" in out
    status, _, err = run("init", "models.py:another", "--cfg", "rules.yaml", "-o", "b.safetensors")
    assert status == 2 and "returned a Sequential and built Linear, LayerNorm" in err


def test_a_file_may_be_called_like_a_module(run: Command, files: Path) -> None:
    (files / "json.py").write_text((files / "models.py").read_text())
    assert run("plan", "json.py:small", "--cfg", "rules.yaml")[0] == 0
    assert sys.modules["json"] is json


def test_an_unknown_option_is_an_error_of_one_screen(run: Command) -> None:
    status, _, err = run("plan", "models.py:small", "--cgf", "rules.yaml")
    assert status == 2 and "--cgf" in err and len(err.splitlines()) < 20


def test_a_config_with_an_error_changes_nothing(run: Command, files: Path) -> None:
    (files / "rules.yaml").write_text("{type: Normal, layer: Linaer}")
    status, _, err = run("init", "models.py:small", "--cfg", "rules.yaml", "-o", "a.safetensors")
    assert status == 2 and "Linear" in err
    assert not (files / "a.safetensors").exists()


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line(run: Command, files: Path) -> None:
    (files / "rules.yaml").write_text("{type: Normal, layer: Conv2d}")
    status, _, err = run("plan", "models.py:small", "--cfg", "rules.yaml")
    assert status == 0
    (line,) = [line for line in err.splitlines() if line != "building"]
    assert line.startswith("warning: rules.yaml") and "matches no module of Sequential" in line


def test_names_cannot_control_the_terminal(run: Command) -> None:
    status, out, err = run("plan", "models.py:hostile", "--cfg", "rules.yaml", "--require-coverage")
    assert status == 0 and "a\\x1b[31m\\nb.weight" in out
    assert "\x1b" not in out + err


def test_a_file_that_cannot_be_written(run: Command) -> None:
    status, _, err = run("init", "models.py:small", "-o", "/proc/a.safetensors")
    assert status == 2 and "No such file or directory" in err and "bug" not in err


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


def test_init_needs_numpy_before_it_builds(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    status, _, err = run("init", "models.py:small", "--cfg", "rules.yaml", "-o", "a.safetensors")
    assert status == 2 and "pip install 'torch-autoinit[cli]'" in err and "building" not in err
