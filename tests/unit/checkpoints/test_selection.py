"""Which part of a file the state dict is, and what its names become: `key`, `revise_keys`, `prefix`."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoinit import ConfigError, ConfigTypeError, initialize
from autoinit.checkpoints import open_checkpoint
from autoinit.checkpoints.selection import Selection
from autoinit.checkpoints.source import Location
from autoinit.errors import CheckpointError
from autoinit.initializers import Pretrained
from tests.checkpoint_files import PICKLED, Save, assert_same, error, save_safetensors, save_zip, state, values

ONE = {"w": torch.ones(1)}
TWO = {"v": torch.ones(2)}


@PICKLED
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"state_dict": ONE, "model": TWO, "v": torch.ones(3)}, ["w"]),
        ({"model": TWO, "w": torch.ones(3)}, ["w"]),
        ({"model": ONE, "ema": TWO}, ["w"]),
        ({"epoch": 3, "net": ONE}, ["w"]),
        ({"ema": {"state_dict": ONE, "decay": 0.9}}, ["w"]),
        ({"state_dict": {"encoder": ONE}}, ["w"]),
        ({"state_dict": {}, "model": ONE}, ["w"]),
        ({"model": {"epoch": 3}, "net": ONE}, ["w"]),
        # What an optimizer keeps of each parameter lies deeper than weights do.
        ({"net": ONE, "optimizer": {"state": {"w": {"exp_avg": torch.ones(1)}}, "param_groups": []}}, ["w"]),
        ({"net": ONE, "optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}}}, ["w"]),
    ],
)
def test_where_the_state_dict_usually_is(save: Save, content: Any, expected: list[str], path: Path) -> None:
    save(content, path)
    assert list(open_checkpoint(path).shapes) == expected
    assert list(dict(open_checkpoint(path).tensors(expected))) == expected


@PICKLED
def test_several_places_have_to_be_told_apart(save: Save, path: Path) -> None:
    save({"epoch": 1, "net": state(), "ema": {"shadow": ONE, "k": 1}}, path)
    text = str(error(path))
    assert "holds tensors in 2 places: 'net' (6), 'ema.shadow' (1): say which with key=, e.g. key='net'" in text


@PICKLED
@pytest.mark.parametrize(
    ("key", "expected"),
    [("net", ["w"]), ("ema", ["v"]), ("ema.shadow", ["w"]), ("a.b", ["v"]), ("a.b.c", ["w"]), ("state_dict", ["v"])],
)
def test_key(save: Save, key: str, expected: list[str], path: Path) -> None:
    save({"state_dict": TWO, "net": ONE, "ema": {**TWO, "shadow": ONE}, "a.b": TWO, "a": {"b": {"c": ONE}}}, path)
    checkpoint = open_checkpoint(path, key=key)
    assert list(checkpoint.shapes) == list(values(checkpoint)) == expected
    assert checkpoint != open_checkpoint(path, key="a.b" if key != "a.b" else "net")
    assert checkpoint != open_checkpoint(path, key=key, revise_keys=(("x", "y"),))


@PICKLED
def test_a_key_that_is_not_there(save: Save, path: Path) -> None:
    save({"model": ONE, "ema": {"state_dict": TWO}, "epoch": 3}, path)
    says = "nothing under the key 'ema.state_dct': give one that holds tensors: 'model' (1), 'ema.state_dict' (1)"
    text = str(error(path, key="ema.state_dct"))
    assert says in text and text.endswith("Did you mean 'ema.state_dict'?")
    for key in ("epoch", "ema"):
        assert f"holds no tensors by name under the key {key!r}" in str(error(path, key=key))
    save(ONE, path)
    assert str(error(path, key="model")).endswith("leave key= out, its tensors are at the top")
    save({"epoch": 3}, path)
    assert "give the path of a file that holds a state_dict" in str(error(path, key="model"))


def test_a_key_of_a_format_without_parts(tmp_path: Path) -> None:
    save_safetensors({"model.w": torch.ones(1)}, tmp_path / "toy.safetensors")
    text = str(error(tmp_path / "toy.safetensors", key="model"))
    assert "is a safetensors file and has no part called 'model': leave key= out" in text


def test_revise_keys_before_the_prefix(path: Path) -> None:
    save_zip({f"module.{name}": tensor for name, tensor in state().items()}, path)
    pairs = ((r"^module\.", ""), (r"^backbone\.conv", "stem.conv"), (r"^(stem\.conv)\.", r"\1.0."))
    checkpoint = open_checkpoint(path, revise_keys=pairs, prefix="stem")
    assert_same(
        values(checkpoint),
        {"conv.0.weight": state()["backbone.conv.weight"], "conv.0.bias": state()["backbone.conv.bias"]},
    )
    # They replace what is done without them.
    save_zip({"module.w": torch.ones(1)}, path)
    assert list(open_checkpoint(path, revise_keys=()).shapes) == ["module.w"]
    assert list(open_checkpoint(path, revise_keys=(("w", "v"),)).shapes) == ["module.v"]


def test_two_names_become_one(path: Path) -> None:
    save_zip({"a.w": torch.ones(1), "b.w": torch.ones(2)}, path)
    text = str(error(path, revise_keys=((r"^[ab]\.", "c."),)))
    assert "has both 'a.w' and 'b.w', which revise_keys gives one name, 'c.w': make the patterns narrower" in text
    # On the way two names may be one for a moment; what they become is what counts.
    assert set(open_checkpoint(path, revise_keys=((r"^a\.w$", "b.w2"), ("w2", "x"))).shapes) == {"b.x", "b.w"}
    text = str(error(path, revise_keys=(("^a", "body"),), prefix="a"))
    assert "has nothing under the prefix 'a'" in text and "'body'" in text


WORDS = st.lists(st.sampled_from(["module", "a", "b", "backbone"]), min_size=1, max_size=3).map(".".join)


@given(st.lists(WORDS, min_size=1, max_size=6, unique=True))
def test_the_default_is_the_originals(names: list[str]) -> None:
    location = Location(text="x")
    expected = {re.sub(r"^module\.", "", name): name for name in names}
    assert Selection().names(names, location) == expected
    spelled_out = Selection(revise_keys=((r"^module\.", ""),))
    if len(expected) == len(names):
        assert spelled_out.names(names, location) == expected
    else:
        with pytest.raises(CheckpointError, match="gives one name"):
            spelled_out.names(names, location)


@PICKLED
def test_versions_follow_their_modules(save: Save, path: Path) -> None:
    model = nn.DataParallel(nn.Sequential(OrderedDict(backbone=nn.Sequential(nn.BatchNorm2d(2)), head=nn.Linear(1, 1))))
    save({"state_dict": model.state_dict()}, path)
    two, one = {"version": 2}, {"version": 1}
    assert open_checkpoint(path).versions == {"": one, "backbone": one, "backbone.0": two, "head": one}
    part = open_checkpoint(path, prefix="module.backbone")
    assert part.versions == {"": one, "0": two}
    renamed = open_checkpoint(path, revise_keys=((r"^module\.", ""), (r"^backbone\.0\.", "norm.")))
    assert renamed.versions["norm"] == two


def test_the_keys_in_a_config(path: Path) -> None:
    save_zip({"ema": {"enc.0.weight": torch.full((1, 2), 3.0), "enc.0.bias": torch.ones(1)}, "model": TWO}, path)
    layer = nn.Linear(2, 1)
    cfg = dict(type="Pretrained", checkpoint=str(path), key="ema", revise_keys=[["^enc", "body"]], prefix="body.0")
    report = initialize(layer, cfg)
    assert layer.weight.tolist() == [[3.0, 3.0]]
    assert report["weight"].gets == f"Pretrained({path}, key=ema, prefix=body.0)"


@pytest.mark.parametrize(
    ("arguments", "error_type", "says"),
    [
        (dict(key=3), ConfigTypeError, "key=3 must be a string, such as 'model' or 'ema.state_dict'"),
        (dict(revise_keys="ab"), ConfigTypeError, "revise_keys='ab' must be a list of pairs"),
        (dict(revise_keys=3), ConfigTypeError, "revise_keys=3 must be a list of pairs"),
        (dict(revise_keys=["ab"]), ConfigTypeError, r"revise_keys\[0\]='ab' must be a pair of strings"),
        (dict(revise_keys=[("a", "b"), ("a", "b", "c")]), ConfigTypeError, r"revise_keys\[1\]=.* must be a pair"),
        (dict(revise_keys=[("a", None)]), ConfigTypeError, r"revise_keys\[0\]=.* must be a pair of strings"),
        (dict(revise_keys=[("a(", "b")]), ConfigError, r"\[0\]=\('a\(', 'b'\) is no regular expression: missing"),
        (dict(revise_keys=[("a", r"\1")]), ConfigError, "a replacement that does not fit its pattern: invalid group"),
        (dict(revise_keys=[("a", r"\g<x>")]), ConfigError, "that does not fit its pattern: unknown group"),
        (dict(sha256=12345678), ConfigTypeError, "sha256=12345678 must be a string of hexadecimal digits"),
        (dict(sha256="abc"), ConfigError, "sha256='abc' must be 8 to 64 hexadecimal digits"),
        (dict(sha256="g" * 8), ConfigError, "must be 8 to 64 hexadecimal digits"),
        (dict(sha256="a" * 65), ConfigError, "must be 8 to 64 hexadecimal digits"),
    ],
)
def test_what_the_keys_cannot_be(arguments: dict[str, Any], error_type: type[Exception], says: str) -> None:
    with pytest.raises(error_type, match=rf"\APretrained: .*{says}"):
        Pretrained(checkpoint="a.pth", **arguments)
    with pytest.raises(error_type, match=rf"\Ainit_cfg: Pretrained: .*{says}"):
        initialize(nn.Linear(1, 1), dict(type="Pretrained", checkpoint="a.pth", **arguments))


def test_the_keys_are_compared_by_what_they_mean() -> None:
    one = Pretrained(checkpoint="a", revise_keys=[["a", "b"]], sha256="ABCDEF01")
    two = Pretrained(checkpoint="a", revise_keys=(("a", "b"),), sha256="abcdef01")
    assert one == two and hash(one) == hash(two)
