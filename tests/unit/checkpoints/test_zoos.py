"""Names of torchvision, timm and OpenMMLab: each means the URL that their own libraries mean by it."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from autoinit import AutoInitWarning, CheckpointError, register_checkpoints
from autoinit.checkpoints import open_checkpoint, zoos
from autoinit.checkpoints.downloads import WebFile
from autoinit.checkpoints.hugging_face import HubFile
from autoinit.checkpoints.location_schemes import follow
from autoinit.checkpoints.source import LocalFile, Location
from tests.checkpoint_files import error, meaning, save_zip, state
from tests.processes import Interpreter
from tests.zoo.operators import torchvision_operators

DATA = Path(__file__).parents[2] / "data" / "real_init_cfgs.json"


@pytest.fixture(autouse=True, scope="module")
def operators() -> None:
    torchvision_operators()


def checkpoints_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["checkpoint"]] if "checkpoint" in value else [])
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from checkpoints_in(part)


def test_every_location_in_use_has_a_url() -> None:
    found = checkpoints_in([entry["value"] for entry in json.loads(DATA.read_text())["corpus"]])
    locations = {location for location in found if "://" in location}
    assert len(locations) > 60
    assert {location.partition("://")[0] for location in locations} >= {"https", "http", "open-mmlab", "torchvision"}
    for location in locations:
        url = meaning(location)
        assert url.startswith("https://" if not location.startswith("http:") else "http://")
        assert url == location or not location.startswith("http")


def test_openmmlab_means_what_mmengine_means(mmengine: Any) -> None:
    table = mmengine.runner.checkpoint.get_external_models()
    assert len(table) >= 48
    for scheme in ("open-mmlab", "openmmlab", "Open-MMLab"):
        assert {name: meaning(f"{scheme}://{name}") for name in table} == table


def test_old_names_of_openmmlab(mmengine: Any) -> None:
    theirs = mmengine.runner.checkpoint
    renamed, table = theirs.get_deprecated_model_names(), theirs.get_external_models()
    assert set(renamed.values()) & set(table)
    for old, new in renamed.items():
        with pytest.warns(AutoInitWarning, match=f"open-mmlab://{old} is an old name. Write open-mmlab://{new}."):
            found = meaning(f"open-mmlab://{old}") if new in table else str(error(f"open-mmlab://{old}"))
        assert found == table[new] if new in table else f"no {new!r}" in found


def test_mmcls_means_the_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mmengine: Any) -> None:
    theirs = mmengine.runner.checkpoint.get_mmcls_models()
    assert {name: meaning(f"mmcls://{name}") for name in theirs} == theirs
    torch.save({"state_dict": {"backbone.a.w": torch.ones(1), "head.w": torch.ones(2)}}, tmp_path / "toy.pth")
    save_zip({"head.w": torch.ones(2)}, tmp_path / "headless.pth")
    table = {"toy": str(tmp_path / "toy.pth"), "headless": str(tmp_path / "headless.pth")}
    monkeypatch.setattr(zoos, "_table", lambda name, location: table)
    taken = mmengine.runner.checkpoint._process_mmcls_checkpoint(torch.load(tmp_path / "toy.pth"))["state_dict"]
    assert list(open_checkpoint("mmcls://toy").shapes) == list(taken) == ["a.w"]
    assert list(open_checkpoint("mmcls://toy", prefix="a").shapes) == ["w"]
    assert "has nothing under 'backbone.', the part that its scheme stands for" in str(error("mmcls://headless"))


def test_the_users_own_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path))
    (tmp_path / "open_mmlab.json").write_text('{"mine": "weights/mine.pth", "theirs": "https://x.org/a.pth"}')
    (tmp_path / "weights").mkdir()
    save_zip(state(), tmp_path / "weights" / "mine.pth")
    assert set(open_checkpoint("open-mmlab://mine").shapes) == set(state())
    assert meaning("open-mmlab://theirs") == "https://x.org/a.pth"
    assert meaning("open-mmlab://vgg16_caffe").endswith("vgg16_caffe-292e1171.pth")
    for content in ("{", "[]", '{"mine": 3}'):
        (tmp_path / "open_mmlab.json").write_text(content)
        assert "cannot be looked up" in str(error("open-mmlab://mine"))


@pytest.mark.parametrize(
    ("location", "whose", "ends"),
    [
        ("open-mmlab://detectron2/resnet50_cafe", "OpenMMLab's table", "Did you mean 'detectron2/resnet50_caffe'?"),
        ("mmcls://vgg16_bm", "MMClassification's table", "Did you mean 'vgg16_bn'?"),
        ("mmcls://zzzzzzzzzzzzz", "MMClassification's table", ", ..."),
        ("torchvision://resnet5O", "torchvision", "Did you mean 'resnet50'?"),
        ("torchvision://resnet50.imagenet1k_v3", "torchvision", "Did you mean 'resnet50.imagenet1k_v2'?"),
        ("timm://resnet5O.a1_in1k", "timm", "Did you mean 'resnet50.a1_in1k'?"),
        ("timm://resnet50.a1_in2k", "timm", "Did you mean 'resnet50.a1_in1k'?"),
        ("timm://resnet5O", "timm", ""),
    ],
)
def test_names_that_a_zoo_does_not_have(location: str, whose: str, ends: str) -> None:
    text = str(error(location))
    assert f"is not known: {whose} has no {location.partition('://')[2]!r}" in text and text.endswith(ends)


def test_without_mmengine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for scheme in ("open-mmlab", "openmmlab", "mmcls"):
        text = str(error(f"{scheme}://vgg16"))
        assert "needs OpenMMLab's table of names, which comes with mmengine: pip install mmengine" in text
        register_checkpoints(scheme, {"vgg16": "https://x.org/a.pth"}, force=True)
        assert meaning(f"{scheme}://vgg16") == "https://x.org/a.pth"


def test_the_tables_are_read_without_importing_mmengine(interpreter: Interpreter) -> None:
    code = (
        "import sys; from autoinit.checkpoints.location_schemes import Location, follow;"
        "print(follow(Location(text='mmcls://vgg16'))[0].url);"
        "assert not {'mmengine', 'timm', 'torchvision', 'huggingface_hub'} & set(sys.modules)"
    )
    assert interpreter.check(code).startswith("https://download.openmmlab.com/")


def test_torchvision_means_what_mmengine_means(mmengine: Any) -> None:
    table = mmengine.runner.checkpoint.get_torchvision_models()
    assert len(table) > 150
    different = {name: (url, ours) for name, url in table.items() if (ours := meaning(f"torchvision://{name}")) != url}
    # Published again under names with the right digests; and two that had not been published yet.
    unpublished = {"shufflenetv2_x1.5", "shufflenetv2_x2.0"}
    assert set(different) == {*(f"efficientnet_b{number}" for number in range(8)), *unpublished}
    for name, (theirs, ours) in different.items():
        if theirs:
            assert ours == table[f"{name}.imagenet1k_v1"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ResNet50", "resnet50-0676ba61.pth"),
        ("resnet50.IMAGENET1K_V2", "resnet50-11ad3fa6.pth"),
        ("resnet50.default", "resnet50-11ad3fa6.pth"),
        ("ResNet50_Weights.IMAGENET1K_V2", "resnet50-11ad3fa6.pth"),
        ("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"),
        ("inception_v3_google", "inception_v3_google-0cc3c7bd.pth"),
        ("shufflenetv2_x0.5", "shufflenetv2_x0.5-f707e7126e.pth"),
    ],
)
def test_torchvision(name: str, file: str) -> None:
    assert meaning(f"torchvision://{name}") == f"https://download.pytorch.org/models/{file}"


def test_the_old_name_of_torchvision() -> None:
    with pytest.warns(AutoInitWarning, match="modelzoo:// is an old name. Write torchvision://resnet50."):
        assert meaning("modelzoo://resnet50") == meaning("torchvision://resnet50")


def test_a_torchvision_model_without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    monkeypatch.setattr(models, "get_model_weights", lambda name: [])
    assert "has no published weights: choose another model" in str(error("torchvision://resnet50"))


def test_libraries_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme, library in (("torchvision", "torchvision"), ("timm", "timm"), ("hf", "huggingface_hub")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, library, None)
            text = str(error(f"{scheme}://org/resnet50"))
        assert f"needs {library}" in text and "pip install" in text


def test_timm_means_what_timm_loads() -> None:
    from timm.models import get_pretrained_cfg, list_pretrained

    counts = {HubFile: 0, WebFile: 0, CheckpointError: 0}
    for name in list_pretrained():
        cfg, location = get_pretrained_cfg(name), Location(text=f"timm://{name}")
        if cfg.custom_load:
            counts[CheckpointError] += 1
            with pytest.raises(CheckpointError, match=r"\(.npz\), which only timm reads"):
                follow(location)
            continue
        at_hub = HubFile(repo=cfg.hf_hub_id, file=cfg.hf_hub_filename, revision=None)
        expected = at_hub if cfg.hf_hub_id else WebFile(url=cfg.url)
        assert follow(location) == (expected, None)
        counts[type(expected)] += 1
    assert counts[HubFile] > 1500 and counts[WebFile] > 10 and counts[CheckpointError] > 50


def test_timm_without_a_tag_and_without_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    first = HubFile(repo="timm/resnet50.a1_in1k", file=None, revision=None)
    assert follow(Location(text="timm://resnet50"))[0] == first
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert meaning("timm://resnet50").endswith("/resnet50_a1_0-14fe96d1.pth")
    place, _ = follow(Location(text="timm://aimv2_1b_patch14_224.apple_pt"))
    assert isinstance(place, HubFile), "published nowhere else"


def test_a_timm_model_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from timm import models

    cfg = models.get_pretrained_cfg("resnet50")
    for changes, expected in (
        (dict(file="/a.pth"), LocalFile(path="/a.pth")),
        (dict(hf_hub_filename="b.bin"), HubFile(repo="timm/resnet50.a1_in1k", file="b.bin", revision=None)),
    ):
        with monkeypatch.context() as patch:
            for name, value in changes.items():
                patch.setattr(cfg, name, value)
            patch.setattr(models, "get_pretrained_cfg", lambda *_, **__: cfg)
            assert follow(Location(text="timm://resnet50"))[0] == expected
    cfg.url, cfg.hf_hub_id, cfg.file = "", None, None
    monkeypatch.setattr(models, "get_pretrained_cfg", lambda *_, **__: cfg)
    assert "has no published weights: choose another tag" in str(error("timm://resnet50"))
