"""Snapshots of plans: what the text says, when it changes, and what a failure shows."""

from __future__ import annotations

import functools
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
from autoinit.compat.mmengine import BaseModule
from autoinit.testing import Snapshots, assert_snapshot, outline
from autoinit.testing.outlines import Line, collapsed
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


# The text.


def test_it_says_for_each_parameter_what_it_gets_and_why() -> None:
    assert outline(plan(Net(), CFG)) == (
        "# autoinit snapshot, format 1\n"
        "Net\n"
        "emb.weight = head.weight (10 x 8, float32): Normal(mean=0, std=0.5), by init_cfg[0]\n"
        "blocks.{0..11}.gamma (8, float32): kept, by init_cfg[2]\n"
        "blocks.{0..11}.norm.weight (8, float32): Constant(value=1), by init_cfg[1]\n"
        "blocks.{0..11}.norm.bias (8, float32): Constant(value=0), by init_cfg[1]\n"
        "blocks.{0..11}.fc.weight (16 x 8, bfloat16): Normal(mean=0, std=0.5), by init_cfg[0]\n"
        "blocks.{0..11}.fc.bias (16, bfloat16): Constant(value=0), by init_cfg[0]\n"
        "lazy.weight (lazy, float32): Kaiming(mode='fan_in'), by init_cfg[0]\n"
        "head.bias (10, float32): Constant(value=0), by init_cfg[0]\n"
    )


def test_two_hundred_equal_layers_are_as_many_lines_as_one() -> None:
    assert len(lines(plan(Net(200), CFG))) == len(lines(plan(Net(1), CFG)))


def test_one_layer_that_is_different_has_its_own_line() -> None:
    cfg = [*CFG, dict(type="Constant", name="blocks.3.fc", val=2)]
    found = [line for line in lines(plan(Net(), cfg)) if "fc.weight" in line]
    assert found == [
        "blocks.{0..2,4..11}.fc.weight (16 x 8, bfloat16): Normal(mean=0, std=0.5), by init_cfg[0]",
        "blocks.3.fc.weight (16 x 8, bfloat16): Constant(value=2), by init_cfg[3]",
    ]


def test_a_plan_and_the_report_of_what_was_done_by_it_say_the_same() -> None:
    decided = plan(Net(), CFG)
    assert outline(decided) == outline(decided.apply(Net(), seed=0)) == outline(decided.apply(Net(), seed=1))
    with autoinit(CFG) as run:
        model = Net()
    assert len(model.blocks) == 12
    assert outline(run.report) == outline(decided)


def test_the_meta_device_does() -> None:
    with torch.device("meta"):
        model = Net()
    assert outline(plan(model, CFG)) == outline(plan(Net(), CFG))


def test_parameters_that_share_across_layers() -> None:
    shared = nn.Sequential(*[Block() for _ in range(5)])
    for block in shared:
        block.fc = shared[0].fc
    (line,) = [line for line in lines(plan(shared, CFG)) if "fc.weight" in line]
    assert line.startswith("0.fc.weight = {1..4}.fc.weight (16 x 8, bfloat16)")


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.out = nn.Linear(2, 2, bias=False)

    def init_weights(self) -> None:
        nn.init.ones_(self.fc.weight)


def test_a_modules_own_init_weights_is_named_by_its_layer() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), *[Own() for _ in range(3)])
    decided = plan(model, dict(type="Constant", val=3, name="*"), own_init="run")
    assert lines(decided)[0] == "0.weight (2 x 2, float32): Constant(value=3), by init_cfg"
    assert lines(decided)[1] == "{1..3}.fc.weight (2 x 2, float32): init_weights of {1..3}"
    assert lines(plan(Own(), own_init="run"))[0] == "fc.weight (2 x 2, float32): init_weights of Own"
    report = decided.apply(model)
    assert lines(report)[1] == "{1..3}.fc.weight (2 x 2, float32): init_weights of {1..3}"
    assert lines(report)[3] == "{1..3}.out.weight (2 x 2, float32): its constructor's values"


class Layer(BaseModule):
    def __init__(self) -> None:
        super().__init__(init_cfg=[dict(type="Xavier", layer="Linear")])
        self.fc = nn.Linear(4, 4)


def test_rules_of_the_layers_themselves_do_not_keep_them_apart() -> None:
    decided = plan(nn.Sequential(*[Layer() for _ in range(3)]))
    assert lines(decided) == [
        "{0..2}.fc.weight (4 x 4, float32): Normal(mean=0, std=0.5), by {0..2}.init_cfg[0]",
        "{0..2}.fc.bias (4, float32): Constant(value=0), by {0..2}.init_cfg[0]",
    ]


def test_loaded_weights(tmp_path: Path) -> None:
    donor, cfg = Block(), CFG[1:]
    torch.save(donor.fc.state_dict(), tmp_path / "fc.pth")
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "fc.pth"))
    cfg = [*cfg, dict(type="Normal", layer="Linear", override=dict(name="fc", **rule))]
    *_, weight, bias, load = lines(plan(Block(), cfg))
    assert weight == "fc.weight (16 x 8, bfloat16): loaded from fc.pth, by init_cfg[2].override"
    assert bias == "fc.bias (16, bfloat16): loaded from fc.pth, by init_cfg[2].override"
    assert load.startswith("init_cfg[2].override: fc.pth: 2 loaded, 0 missing")
    with autoinit(CFG[1:]) as run:
        model = Block()
        model.fc.load_state_dict(donor.fc.state_dict())
    assert lines(run.report)[3] == "fc.weight (16 x 8, bfloat16): kept: data"


def test_nothing_depends_on_folders_or_addresses(tmp_path: Path) -> None:
    (tmp_path / "cfg.yaml").write_text("- {type: Constant, layer: LayerNorm, val: 1}")
    assert "Constant(value=1), by cfg.yaml: init_cfg[0]" in outline(plan(Block(), tmp_path / "cfg.yaml"))
    fill = functools.partial(lambda tensor: tensor.zero_())
    text = outline(plan(Block(), [dict(type=fill, layer="Linear")]))
    assert "functools.partial(<function" in text and " at 0x" not in text


def test_it_is_the_same_text_in_another_process() -> None:
    code = "from tests.test_snapshots import *; print(outline(plan(Net(), CFG)), end='')"
    env = {"PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert run.stdout == outline(plan(Net(), CFG))


@pytest.mark.parametrize("of", [plan, lambda model: report_of_an_empty_block()], ids=["plan", "report"])
def test_a_model_of_which_nothing_is_known_is_an_error(of: Callable[[nn.Module], Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        outline(of(Block()))
    assert str(caught.value) == (
        "Nothing is known of how Block is initialized: there is no rule, and no module has an init_cfg or an "
        "init_weights. Give the config, or the report of the block in which the model was built."
    )


def report_of_an_empty_block() -> Any:
    with autoinit([]) as run:
        model = Block()
    assert model.gamma is not None
    return run.report


# Lines that are made one.

names = st.lists(
    st.lists(st.sampled_from(["0", "1", "2", "3", "10", "007", "a", "b"]), min_size=1, max_size=4).map(tuple),
    unique=True,
    max_size=40,
)


def expanded(line: Line) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = {()}
    for part in line.parts:
        choices = [part]
        if part.startswith("{"):
            choices = []
            for run in part.strip("{}").split(","):
                low, _, high = run.partition("..")
                choices += map(str, range(int(low), int(high or low) + 1))
        found = {(*start, choice) for start in found for choice in choices}
    return found


@given(names, st.lists(st.sampled_from("xy"), min_size=40, max_size=40))
def test_collapsing_loses_nothing_and_adds_nothing(parts: list[tuple[str, ...]], texts: list[str]) -> None:
    before = [Line(parts=part, text=text) for part, text in zip(parts, texts, strict=False)]
    after = collapsed(before)
    told = [(name, line.text) for line in after for name in expanded(line)]
    assert len(told) == len(set(told))
    assert set(told) == {(line.parts, line.text) for line in before}


def test_what_cannot_be_told_apart_by_a_number_stays() -> None:
    parts = [("0", "a"), ("0", "b"), ("00", "a"), ("²", "a"), ("x", "0"), ("y", "0")]
    assert [line.parts for line in collapsed([Line(parts=part, text="") for part in parts])] == parts


# Files.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "__init_snapshots__" / "test_model"


def kept(folder: Path, cfg: Any = CFG, **options: Any) -> Path:
    Snapshots(folder=folder, test="test_plan", update=True)(Net(), cfg, **options)
    (path,) = folder.iterdir()
    return path


def test_a_snapshot_is_written_and_then_holds(folder: Path) -> None:
    path = kept(folder)
    assert path.name == "test_plan.txt"
    assert path.read_bytes() == outline(plan(Net(), CFG)).encode()
    Snapshots(folder=folder, test="test_plan")(Net(), CFG)
    Snapshots(folder=folder, test="test_plan")(plan(Net(), CFG))
    Snapshots(folder=folder, test="test_plan")(plan(Net(), CFG).apply(Net()))


def test_what_holds_is_not_written_again(folder: Path) -> None:
    path = kept(folder)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # As git on Windows checks it out.
    before = path.stat().st_mtime_ns
    Snapshots(folder=folder, test="test_plan", update=True)(Net(), CFG)
    assert path.stat().st_mtime_ns == before
    Snapshots(folder=folder, test="test_plan")(Net(), CFG)


def test_a_missing_snapshot_fails_and_is_not_written(folder: Path) -> None:
    with pytest.raises(VerificationError) as caught:
        Snapshots(folder=folder, test="test_plan")(Net(), CFG)
    assert str(caught.value) == (
        "There is no snapshot of how Net is initialized (__init_snapshots__/test_model/test_plan.txt). Write it with "
        "pytest --autoinit-update, read it, and keep it under version control."
    )
    assert not folder.exists()


def test_a_difference_shows_what_was_and_what_is(folder: Path) -> None:
    path = kept(folder)
    before = path.read_bytes()
    with pytest.raises(VerificationError) as caught:
        Snapshots(folder=folder, test="test_plan")(Net(), [{**CFG[0], "mode": "fan_out"}, *CFG[1:]])
    assert (
        str(caught.value)
        == """\
Net is not initialized as __init_snapshots__/test_model/test_plan.txt says:
--- was
+++ is
@@ -1,10 +1,10 @@
 # autoinit snapshot, format 1
 Net
-emb.weight = head.weight (10 x 8, float32): Normal(mean=0, std=0.5), by init_cfg[0]
+emb.weight = head.weight (10 x 8, float32): Normal(mean=0, std=0.447214), by init_cfg[0]
 blocks.{0..11}.gamma (8, float32): kept, by init_cfg[2]
 blocks.{0..11}.norm.weight (8, float32): Constant(value=1), by init_cfg[1]
 blocks.{0..11}.norm.bias (8, float32): Constant(value=0), by init_cfg[1]
-blocks.{0..11}.fc.weight (16 x 8, bfloat16): Normal(mean=0, std=0.5), by init_cfg[0]
+blocks.{0..11}.fc.weight (16 x 8, bfloat16): Normal(mean=0, std=0.353553), by init_cfg[0]
 blocks.{0..11}.fc.bias (16, bfloat16): Constant(value=0), by init_cfg[0]
-lazy.weight (lazy, float32): Kaiming(mode='fan_in'), by init_cfg[0]
+lazy.weight (lazy, float32): Kaiming(), by init_cfg[0]
 head.bias (10, float32): Constant(value=0), by init_cfg[0]
If that is meant, write it with pytest --autoinit-update."""
    )
    assert path.read_bytes() == before


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


def test_values_and_seeds_are_none_of_its_business(folder: Path) -> None:
    path = kept(folder)
    before = path.read_text()
    model = Net()
    for parameter in model.emb.parameters():
        nn.init.zeros_(parameter)
    Snapshots(folder=folder, test="test_plan")(model, CFG)
    assert path.read_text() == before


def test_an_update_writes_what_is(folder: Path) -> None:
    kept(folder)
    path = kept(folder, cfg=CFG[1:])
    assert "Kaiming" not in path.read_text()
    assert [entry.name for entry in folder.iterdir()] == [path.name]  # Nothing partial is left.


@pytest.mark.parametrize("first", ["# autoinit snapshot, format 0", "hello", ""])
def test_another_format_says_so(folder: Path, first: str) -> None:
    path = kept(folder)
    _, _, rest = path.read_text().partition("\n")
    path.write_text(f"{first}\n{rest}" if first else "")
    with pytest.raises(VerificationError) as caught:
        assert_snapshot(outline(plan(Net(), CFG)), path)
    assert f"begins with {first!r}, and this version of autoinit writes format 1." in str(caught.value)


def test_snapshots_of_one_test_are_told_apart_by_name(folder: Path) -> None:
    snapshot = Snapshots(folder=folder, test="test_plan", update=True)
    snapshot(Net(), CFG)
    snapshot(Net(), CFG, name="again")
    with pytest.raises(StateError, match=r"test_plan compares two models with the snapshot test_plan.txt.*name="):
        snapshot(Net(1), CFG)
    with pytest.raises(StateError, match=r"test_plan-again\.txt"):
        snapshot(Net(1), CFG, "again")
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
def test_what_cannot_be_compared(folder: Path, what: Any, cfg: Any, error: type[AutoInitError], text: str) -> None:
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
