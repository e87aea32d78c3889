"""`autoinit convert`: one config that gives a model what the `init_cfg`s of its parts give it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from torch import nn

from autoinit import plan
from autoinit.command_line.converting import converted
from autoinit.command_line.target_errors import CommandError
from autoinit.errors import ConfigError

CONFIG = """
norm = dict(type='BN')
model = dict(
    type='Detector',
    init_cfg=dict(type='Normal', layer='Linear', std=0.5),
    backbone=dict(
        type='Net',
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer=['BatchNorm2d'], override=dict(type='Constant', val=0, name='last')),
        ]),
    heads=[dict(type='Head'), dict(type='Head', init_cfg=dict(type='Normal', layer='Linear', std=0.01))],
)
"""


class Part(nn.Module):
    def __init__(self, init_cfg: object = None, **parts: nn.Module) -> None:
        super().__init__()
        self.init_cfg = init_cfg
        for name, part in parts.items():
            setattr(self, name, part)


def model(*, carried: bool) -> nn.Module:
    """The model of `CONFIG`, with its configs on its modules or without."""
    first = dict(type="Constant", val=1, layer=["BatchNorm2d"], override=dict(type="Constant", val=0, name="last"))
    backbone = [dict(type="Kaiming", layer="Conv2d"), first]
    head = dict(type="Normal", layer="Linear", std=0.01)
    whole = dict(type="Normal", layer="Linear", std=0.5)
    return Part(
        whole if carried else None,
        backbone=Part(
            backbone if carried else None, conv=nn.Conv2d(1, 1, 1), norm=nn.BatchNorm2d(1), last=nn.BatchNorm2d(1)
        ),
        heads=nn.ModuleList(
            [Part(fc=nn.Linear(2, 2)), Part(head if carried else None, fc=nn.Linear(2, 2))],
        ),
    )


def test_the_plan_is_that_of_configs_on_the_modules(tmp_path: Path) -> None:
    file = tmp_path / "detector.py"
    file.write_text(CONFIG)
    rules = yaml.safe_load(converted(file))["init_cfg"]
    there, here = plan(model(carried=True)), plan(model(carried=False), rules)
    assert {name: entry.fill for name, entry in here.items()} == {name: entry.fill for name, entry in there.items()}
    assert here["heads.1.fc.weight"].fill != here["heads.0.fc.weight"].fill
    assert here.uncovered == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model = dict(type='Net')", "no init_cfg in it"),
        ("model = dict(", "cannot be read as a config"),
        ("model = 1 / 0", "cannot be read as a config: ZeroDivisionError"),
    ],
)
def test_a_file_that_cannot_be_converted(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(text)
    with pytest.raises(CommandError, match=says):
        converted(file)


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no such file"):
        converted(tmp_path / "none.py")


def test_an_error_names_the_module_that_has_the_rule(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("model: {backbone: {}, head: {init_cfg: {type: Normal, st: 1}}}")
    with pytest.raises(ConfigError, match=r"wrong\.yaml: head\.init_cfg\[0\]\.st: Normal has no argument 'st'"):
        converted(file)
