"""The JSON Schema of configs: it takes what parsing takes, and refuses what an editor should underline."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from autoinit.command_line.schema import json_schema

CURRENT = json.dumps(json_schema(), indent=2) + "\n"  # before a test registers an initializer
SCHEMA = jsonschema.Draft202012Validator(json_schema())
ROOT = Path(__file__).parents[3]
CORPUS = json.loads((ROOT / "tests" / "data" / "real_init_cfgs.json").read_text())["corpus"]


def test_the_file_in_the_docs_is_current() -> None:
    command = "python -m autoinit schema -o docs/autoinit.schema.json --force"
    assert (ROOT / "docs" / "autoinit.schema.json").read_text() == CURRENT, f"run {command}"


EXAMPLES = sorted((ROOT / "docs" / "examples").rglob("*.yaml"))


@pytest.mark.parametrize(
    "file",
    # The file for Hydra is a config of Hydra, with one for autoinit in it.
    [file for file in EXAMPLES if file.name != "with_hydra.yaml"],
    ids=lambda file: file.name,
)
def test_an_example_names_the_schema_and_follows_it(file: Path) -> None:
    first, _, rest = file.read_text().partition("\n")
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / named).resolve() == ROOT / "docs" / "autoinit.schema.json"
    SCHEMA.validate(yaml.safe_load(rest))


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    "config",
    [
        {"type": "Normal", "layer": "Linear", "std": 0.02},
        {"init_cfg": [{"type": "KaimingInit", "layer": ["Conv2d"], "mode": "fan_in", "bias": None}]},
        [{"type": "Pretrained", "checkpoint": "torchvision://resnet50"}],
        {"type": "Constant", "val": 1, "override": {"name": "fc", "type": "Normal", "std": 1}},
    ],
)
def test_it_takes_a_config(config: object) -> None:
    assert SCHEMA.is_valid(config)


@pytest.mark.parametrize(
    "config",
    [{"type": "Kaimming"}, {"layer": "Linear"}, {"type": "Normal", "sdt": 1}, {"type": "Normal", "std": "a"}, 3],
)
def test_it_refuses_a_config(config: object) -> None:
    assert not SCHEMA.is_valid(config)


def test_it_takes_the_configs_in_use() -> None:
    parsed = [entry["value"] for entry in CORPUS if entry.get("mmengine", {}).get("ok")]
    assert len(parsed) > 100
    assert [config for config in parsed if not SCHEMA.is_valid(config)] == []
