"""A folder with models and rules, and the command line run in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoinit.command_line import main

Command = Callable[..., tuple[int, str, str]]

MODELS = """
import sys
from decimal import Decimal
from pathlib import Path
from torch import nn

class Sizes:
    def __init__(self, width=4, depth=2):
        if width < 1:
            raise ValueError("width must be positive")
        self.width = width

class Sized(nn.Sequential):
    def __init__(self, sizes: Sizes):
        super().__init__(nn.Linear(3, sizes.width))

class OldSized(Sized):
    sizes_class = Sizes
    def __init__(self, sizes): super().__init__(sizes)

BUILT, OTHER = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))

class Own(nn.Linear):
    init_cfg = dict(type="Constant", layer="Linear", val=3)

def small(width=4):
    print("building")
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))

def own(): return nn.Sequential(Own(2, 2))
def hostile():
    model = nn.Module()
    model.add_module("a\\x1b[31m\\nb", nn.Linear(2, 2))
    return model
def needy(width, depth): return nn.Linear(width, depth)
def at(path: Path, factor: Decimal): return nn.Linear(2, 2)
def text(): return "not a model"
def built(): return BUILT
def several():
    several.kept = nn.Linear(2, 2)
    return small()
def another():
    another.kept = nn.Linear(2, 2), nn.LayerNorm(2)
    return OTHER
def leaves(): sys.exit(3)
def fails(): raise RuntimeError("no such preset\\nand more")
number = 3
"""
RULES = "init_cfg:\n- {type: Normal, layer: Linear, std: 0.02}\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "wide.yaml").write_text(RULES.replace("0.02", "0.5"))
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
