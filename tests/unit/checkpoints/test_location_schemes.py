"""Schemes that users register: tables, functions, chains of them, and what cannot be one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoinit import CheckpointError, ConfigError, ConfigTypeError, register_checkpoints
from autoinit.checkpoints import location_schemes, open_checkpoint
from tests.checkpoint_files import error, meaning, save_zip, state


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    save_zip(state(), tmp_path / "toy.pth")
    table = {"toy": tmp_path / "toy.pth", "again": "lab://toy", "vgg": "mmcls://vgg16"}
    register_checkpoints("lab", table)
    table["toy"] = tmp_path / "changed later.pth"
    for name in ("lab://toy", "LAB://toy", "lab://again"):
        checkpoint = open_checkpoint(name)
        assert checkpoint.location == name
        assert set(checkpoint.shapes) == set(state())
    assert meaning("lab://vgg") == meaning("mmcls://vgg16")
    text = str(error("lab://tooy"))
    assert "is not known: the table of lab:// has no 'tooy'" in text and text.endswith("Did you mean 'toy'?")


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    save_zip(state(), tmp_path / "toy.pth")
    register_checkpoints("s3", lambda rest: tmp_path / rest.rpartition("/")[2])
    assert set(open_checkpoint("s3://bucket/key/toy.pth").shapes) == set(state())
    text = str(error("s3://bucket/yot.pth"))
    assert "checkpoint 's3://bucket/yot.pth'" in text and "does not exist" in text and "Did you mean 'toy.pth'?" in text


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda rest: {}[rest], r"the function of lab:// failed \(KeyError: 'a'\)"),
        (lambda rest: None, "the function of lab:// gave None, which is no location"),
        (lambda rest: 3, "gave 3, which is no location"),
        (lambda rest: open_checkpoint("none.pth", origin="here"), "^here: checkpoint 'none.pth' does not exist"),
    ],
)
def test_a_function_that_fails(function: Any, says: str) -> None:
    register_checkpoints("lab", function)
    with pytest.raises(CheckpointError, match=says) as caught:
        open_checkpoint("lab://a", origin="here")
    assert caught.value.origin == "here"


def test_circles_end() -> None:
    register_checkpoints("lab", {"a": "lab://b", "b": "lab://c", "c": "lab://a", "self": "lab://self"})
    assert "leads in a circle: lab://a -> lab://b -> lab://c -> lab://a: let one" in str(error("lab://a"))
    assert "leads in a circle: lab://self -> lab://self" in str(error("lab://self"))
    register_checkpoints("grow", lambda rest: f"grow://{rest}x")
    assert "grow://a -> grow://ax -> grow://axx -> grow://axxx -> ... -> grow://a" in str(error("grow://a"))


def test_a_taken_scheme_has_to_be_forced() -> None:
    for scheme in ("torchvision", "HTTPS", "hf", "mmcls"):
        with pytest.raises(ConfigError, match=f"scheme '{scheme.lower()}' is taken"):
            register_checkpoints(scheme, {})
    register_checkpoints("torchvision", {"resnet50": "https://mirror.org/r.pth"}, force=True)
    assert meaning("torchvision://resnet50") == "https://mirror.org/r.pth"


@pytest.mark.parametrize("scheme", ["", "a", "1a", "a b", "a://", None, 3])
def test_what_cannot_be_a_scheme(scheme: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be a scheme"):
        register_checkpoints(scheme, {})


@pytest.mark.parametrize("table", [None, 3, ["a"], {"a": 3}, {3: "a"}, {"a": b"x"}, {"a": None}])
def test_what_cannot_be_a_table(table: Any) -> None:
    known = dict(location_schemes._RESOLVERS)
    with pytest.raises(ConfigTypeError, match=r"register_checkpoints\('lab'\)"):
        register_checkpoints("lab", table)
    assert known == location_schemes._RESOLVERS


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("s3://bucket/key.pth", "has an unknown scheme, 's3'"),
        ("cluster:s3://bucket/key.pth", "has an unknown scheme, 'cluster:s3'"),
        ("file:///tmp/toy.pth", "has an unknown scheme, 'file'"),
        ("torchvison://resnet50", "Did you mean 'torchvision'?"),
        ("open_mmlab://vgg16_caffe", "Did you mean 'openmmlab'?"),
    ],
)
def test_schemes_that_nobody_has_registered(location: str, says: str) -> None:
    text = str(error(location))
    assert says in text and "register it with autoinit.register_checkpoints" in text
    assert "does not exist" in str(error("C://weights/toy.pth")), "a drive is no scheme"
