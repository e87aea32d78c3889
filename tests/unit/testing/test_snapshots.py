"""Snapshots of plans: what the text says, when it changes, and what a failure shows."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoinit import AutoInitError, ConfigError, ConfigTypeError, StateError, VerificationError, autoinit, plan
from autoinit.testing import Snapshots, assert_snapshot, outline
from autoinit.testing.snapshots import file_name

CFG = [
    dict(type="Kaiming", layer="Linear", mode="fan_in"),
    dict(type="Constant", layer="LayerNorm", val=1),
    dict(type="Keep", params="gamma"),
]


class Block(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, 2 * width, dtype=torch.bfloat16)


class Net(nn.Module):
    def __init__(self, depth: int = 12) -> None:
        super().__init__()
        self.emb = nn.Embedding(10, 8)
        self.blocks = nn.ModuleList([Block() for _ in range(depth)])
        self.lazy = nn.LazyLinear(2, bias=False)
        self.head = nn.Linear(8, 10)
        self.head.weight = self.emb.weight


def lines(decided: Any) -> list[str]:
    return outline(decided).splitlines()[2:]


def test_a_row_has_the_fill_and_the_rule() -> None:
    with torch.device("meta"):
        model = Net(1)
    assert outline(plan(model, CFG)) == outline(plan(Net(1), CFG))
    assert outline(plan(model, CFG)) == (
        "# autoinit snapshot, format 2\n"
        "Net\n"
        "emb.weight | 10 x 8 | float32 | Normal(mean=0, std=0.5) | in 8, out 10 (torch) | init_cfg[0]\n"
        "blocks.0.gamma | 8 | float32 | Keep() | init_cfg[2]\n"
        "blocks.0.norm.weight | 8 | float32 | Constant(value=1) | init_cfg[1]\n"
        "blocks.0.norm.bias | 8 | float32 | Constant(value=0) | init_cfg[1]\n"
        "blocks.0.fc.weight | 16 x 8 | bfloat16 | Normal(mean=0, std=0.5) | in 8, out 16 (torch) | init_cfg[0]\n"
        "blocks.0.fc.bias | 16 | bfloat16 | Constant(value=0) | init_cfg[0]\n"
        "lazy.weight | lazy | float32 | Kaiming(mode='fan_in') | init_cfg[0]\n"
        "head.bias | 10 | float32 | Constant(value=0) | init_cfg[0]\n"
    )
    large = plan(Net(), CFG)
    assert len(large) > 24 and [line.split(" | ")[0] for line in lines(large)] == list(large)


def test_a_report_adds_outcomes_and_no_seed() -> None:
    decided = plan(Net(1), CFG)
    report = decided.apply(Net(1), seed=0)
    assert lines(report)[0] == "emb.weight | 10 x 8 | float32 | filled | Normal(mean=0, std=0.5) | init_cfg[0]"
    assert lines(report)[1] == "blocks.0.gamma | 8 | float32 | kept | Keep() | init_cfg[2]"
    assert outline(report) == outline(decided.apply(Net(1), seed=1))
    with autoinit(CFG) as run:
        _model = Net(1)
    assert outline(run.report) == outline(report)


class Own(nn.Sequential):
    def init_weights(self) -> None:
        nn.init.ones_(self[0].weight)


def test_a_modules_own_init_weights_is_named() -> None:
    model, weight = Own(nn.Linear(2, 2)), "0.weight | 2 x 2 | float32"
    decided = plan(model, own_init="run")
    assert lines(decided)[0] == f"{weight} | then Own.init_weights()"
    assert lines(decided.apply(model))[0] == f"{weight} | own init_weights | by its module"


def test_loaded_weights(tmp_path: Path) -> None:
    donor, cfg = Block(), CFG[1:]
    torch.save(donor.fc.state_dict(), tmp_path / "fc.pth")
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "fc.pth"))
    cfg = [*cfg, dict(type="Normal", layer="Linear", override=dict(name="fc", **rule))]
    *_, weight, bias, load = lines(plan(Block(), cfg))
    assert weight == "fc.weight | 16 x 8 | bfloat16 | Pretrained(fc.pth) | init_cfg[2].override | init_cfg[2]"
    assert bias == "fc.bias | 16 | bfloat16 | Pretrained(fc.pth) | init_cfg[2].override | init_cfg[2]"
    assert load.startswith("init_cfg[2].override: fc.pth: 2 loaded, 0 missing")
    with autoinit(CFG[1:]) as run:
        model = Block()
        model.fc.load_state_dict(donor.fc.state_dict())
    # The report has the source line that the data came from, which would change with every edit.
    assert " (" in run.report["fc.weight"].outcome
    assert lines(run.report)[3] == "fc.weight | 16 x 8 | bfloat16 | kept: data"


def test_nothing_depends_on_folders_or_addresses(tmp_path: Path) -> None:
    (tmp_path / "cfg.yaml").write_text("- {type: Constant, layer: LayerNorm, val: 1}")
    assert "Constant(value=1) | cfg.yaml: init_cfg[0]" in outline(plan(Block(), tmp_path / "cfg.yaml"))
    fill = functools.partial(lambda tensor: tensor.zero_())
    text = outline(plan(Block(), [dict(type=fill, layer="Linear")]))
    assert "functools.partial(<function" in text and " at 0x" not in text


def test_it_is_the_same_text_in_another_process() -> None:
    code = "from tests.unit.testing.test_snapshots import *; print(outline(plan(Net(), CFG)), end='')"
    env = {"PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert run.stdout == outline(plan(Net(), CFG))


def test_a_model_without_any_rule_is_an_error() -> None:
    with autoinit([]) as run:
        model = Block()
    for of in (plan(model), run.report):
        with pytest.raises(ConfigError) as caught:
            outline(of)
        assert str(caught.value) == (
            "Nothing is known of how Block is initialized: there is no rule, and no module has an init_cfg or an "
            "init_weights. Give the config, or the report of the block in which the model was built."
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "__init_snapshots__" / "test_model"


def kept(folder: Path, cfg: Any = CFG, **options: Any) -> Path:
    Snapshots(folder=folder, test="test_plan", update=True)(Net(), cfg, **options)
    (path,) = folder.iterdir()
    return path


def test_a_snapshot_is_written_once_and_then_holds(folder: Path) -> None:
    path = kept(folder)
    assert path.name == "test_plan.txt"
    assert path.read_bytes() == outline(plan(Net(), CFG)).encode()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # As git on Windows checks it out.
    before = path.stat().st_mtime_ns
    other_values = Net()
    nn.init.zeros_(other_values.emb.weight)
    for what, cfg in ((Net(), CFG), (plan(Net(), CFG), None), (other_values, CFG)):
        for update in (False, True):
            Snapshots(folder=folder, test="test_plan", update=update)(what, cfg)
    assert path.stat().st_mtime_ns == before
    path = kept(folder, cfg=CFG[1:])
    assert "Kaiming" not in path.read_text()
    assert [entry.name for entry in folder.iterdir()] == [path.name]  # Nothing partial is left.


def test_a_missing_snapshot_fails_and_is_not_written(folder: Path) -> None:
    with pytest.raises(VerificationError) as caught:
        Snapshots(folder=folder, test="test_plan")(Net(), CFG)
    assert str(caught.value) == (
        "There is no snapshot of how Net is initialized (__init_snapshots__/test_model/test_plan.txt). Write it with "
        "pytest --autoinit-update, read it, and keep it under version control."
    )
    assert not folder.exists()


def test_a_difference_shows_what_was_and_what_is(folder: Path) -> None:
    path = folder / "test_plan.txt"
    Snapshots(folder=folder, test="test_plan", update=True)(Net(1), CFG)
    before = path.read_bytes()
    with pytest.raises(VerificationError) as caught:
        Snapshots(folder=folder, test="test_plan")(Net(1), [CFG[0], dict(CFG[1], val=2), CFG[2]])
    assert (
        str(caught.value)
        == """\
Net is not initialized as __init_snapshots__/test_model/test_plan.txt says:
--- was
+++ is
@@ -3,5 +3,5 @@
 emb.weight | 10 x 8 | float32 | Normal(mean=0, std=0.5) | in 8, out 10 (torch) | init_cfg[0]
 blocks.0.gamma | 8 | float32 | Keep() | init_cfg[2]
-blocks.0.norm.weight | 8 | float32 | Constant(value=1) | init_cfg[1]
+blocks.0.norm.weight | 8 | float32 | Constant(value=2) | init_cfg[1]
 blocks.0.norm.bias | 8 | float32 | Constant(value=0) | init_cfg[1]
 blocks.0.fc.weight | 16 x 8 | bfloat16 | Normal(mean=0, std=0.5) | in 8, out 16 (torch) | init_cfg[0]
If that is meant, write it with pytest --autoinit-update."""
    )
    assert path.read_bytes() == before


def test_a_long_difference_is_cut(folder: Path) -> None:
    kept(folder)
    with pytest.raises(VerificationError) as caught:
        Snapshots(folder=folder, test="test_plan")(Net(100), [{**CFG[0], "mode": "fan_out"}, *CFG[1:]])
    *_, more, remedy = str(caught.value).splitlines()
    assert re.fullmatch(r"\.\.\. and \d+ more lines", more) and remedy.startswith("If that is meant")
    assert len(str(caught.value).splitlines()) == 43


@pytest.mark.parametrize(
    "change",
    [
        lambda net: setattr(net.blocks[3], "norm", nn.BatchNorm1d(8)),
        lambda net: setattr(net.head, "weight", nn.Parameter(torch.ones(10, 8))),
        lambda net: setattr(net.blocks[5], "fc", nn.Linear(8, 16)),
        lambda net: net.blocks.append(Block()),
        lambda net: net.half(),
        lambda net: setattr(net, "mlp", net.blocks) or delattr(net, "blocks"),
    ],
    ids=["another norm", "a tie lost", "another dtype", "a layer more", "half", "renamed"],
)
def test_changes_of_the_model_are_seen(folder: Path, change: Callable[[Net], object]) -> None:
    kept(folder)
    model = Net()
    change(model)
    with pytest.raises(VerificationError, match="(?s)Net is not initialized as .*--- was\n\\+\\+\\+ is"):
        Snapshots(folder=folder, test="test_plan")(model, CFG)


@pytest.mark.parametrize("first", ["# autoinit snapshot, format 1", "hello", ""])
def test_another_format_says_so(folder: Path, first: str) -> None:
    path = kept(folder)
    _, _, rest = path.read_text().partition("\n")
    path.write_text(f"{first}\n{rest}" if first else "")
    with pytest.raises(VerificationError) as caught:
        assert_snapshot(outline(plan(Net(), CFG)), path)
    assert f"begins with {first!r}, and this version of autoinit writes format 2." in str(caught.value)


def test_snapshots_of_one_test_are_told_apart_by_name(folder: Path) -> None:
    snapshot = Snapshots(folder=folder, test="test_plan", update=True)
    snapshot(Net(), CFG)
    snapshot(Net(), CFG, name="again")
    for name, file in ((None, "test_plan"), ("again", "test_plan-again")):
        with pytest.raises(StateError, match=rf"test_plan compares two models with the snapshot {file}\.txt.*name="):
            snapshot(Net(1), CFG, name)
    assert sorted(path.name for path in folder.iterdir()) == ["test_plan-again.txt", "test_plan.txt"]


@pytest.mark.parametrize(
    ("what", "cfg", "error", "text"),
    [
        (
            plan(Block(), CFG),
            CFG,
            ConfigTypeError,
            "init_snapshot(): a Plan has its rules already; cfg goes with a model.",
        ),
        (3, CFG, ConfigTypeError, "init_snapshot(): 3 is a int, not a torch.nn.Module, Plan or Report."),
        (Block(), None, ConfigError, "Nothing is known of how Block is initialized"),
    ],
)
def test_bad_arguments_are_errors(folder: Path, what: Any, cfg: Any, error: type[AutoInitError], text: str) -> None:
    with pytest.raises(error) as caught:
        Snapshots(folder=folder, test="test_plan", update=True)(what, cfg)
    assert str(caught.value).startswith(text)
    assert not folder.exists()


@given(st.lists(st.text(max_size=300), min_size=2, max_size=2, unique=True))
def test_names_of_files_are_safe_and_different(texts: list[str]) -> None:
    one, other = map(file_name, texts)
    assert one != other
    for name in (one, other):
        assert len(name) <= 160 and name.isascii() and not set(name) & set('/\\:*?"<>|\n')
