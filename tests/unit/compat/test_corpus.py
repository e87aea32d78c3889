"""Every `init_cfg` of `data/real_init_cfgs.json`: what mmengine does with it, autoinit does, too.

The outcomes in the file are mmengine's, on `Zoo` with every parameter set to 9.0; that they are what the installed
mmengine does is tested beside our own. What differs on purpose (section 6 of `mmengine-compat.md`) is in `WARNS`.
"""

from __future__ import annotations

import builtins
import copy
import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import mmengine.model
import pytest
from torch import nn

import autoinit
from autoinit import AutoInitWarning, ConfigTypeError
from autoinit.compat import mmengine as compat
from autoinit.config import parse_config
from autoinit.initializers import Pretrained
from tests.data.zoo_model import Zoo
from tests.models import filled_with

from .modules import silence

Entry = dict[str, Any]
ENTRIES: list[Entry] = json.loads((Path(__file__).parents[2] / "data" / "real_init_cfgs.json").read_text())["corpus"]
WITH_OUTCOME = [entry for entry in ENTRIES if "mmengine" in entry]
WITHOUT_OUTCOME = [entry for entry in ENTRIES if "mmengine" not in entry]
SENTINEL = 9.0

# Same outcome, and a word about it that mmengine does not say.
WARNS = {
    # "list order: a later `layer="Linear"` wipes an earlier item's override"
    "c379": r"init_cfg\[0\]\.override loses reg\.weight to init_cfg\[2\]",
    # "neither `layer`, `name`, `params` nor `override`"
    "c400": "can match nothing",
}

# No outcome was taken: they want files, most of them from the network, or hold a piece of source code.
NOT_PARSED = {
    "c019": "bias: '<expr: .*>' must be a number",
    "c350": "Pretrained needs 'checkpoint'",
}
NO_FILE = {
    "c133": "checkpoint ''",
    "c134": "checkpoint ''",
    "c135": "does not exist",
    "c136": "does not exist",
    "c351": "checkpoint ''",
    "c402": "does not exist",
    "c404": "does not exist",
    "c406": "does not exist",
}


def items_of(value: Any) -> list[Entry]:
    return value if isinstance(value, list) else [value]


def overridden_names(value: Any) -> tuple[str, ...]:
    overrides = [item.get("override") for item in items_of(value)]
    listed = [each for override in overrides for each in items_of(override) if isinstance(each, dict)]
    return tuple(dict.fromkeys(each["name"] for each in listed if "name" in each))


def untruncated(value: Any) -> int:
    """How many rules ask for a truncated normal whose default bounds are far from all values."""
    rules = [rule for item in items_of(value) for rule in (item, *items_of(item.get("override") or []))]
    kinds = [rule for rule in rules if str(rule.get("type")).rpartition(".")[2] in ("TruncNormal", "TruncNormalInit")]
    default = [rule for rule in kinds if not {"a", "b"} & rule.keys()]
    return sum(0 < 5 * rule.get("std", 1) < 2 - abs(rule.get("mean", 0)) for rule in default)


def config_of(entry: Entry, library: ModuleType) -> Any:
    value = copy.deepcopy(entry["value"])
    if "type_is_class" in entry["flags"]:
        for item in items_of(value):
            item["type"] = getattr(library, item["type"])
    return value


def fresh_zoo(entry: Entry) -> Zoo:
    return filled_with(SENTINEL, Zoo(overridden_names(entry["value"])))


def touched(model: nn.Module, expected: dict[str, str]) -> dict[str, str]:
    """In the file's words; a single random element looks like a constant."""
    found = {}
    for name, param in model.named_parameters():
        values = set(param.flatten().tolist())
        if values != {SENTINEL}:
            random = len(values) > 1 or (param.numel() == 1 and expected.get(name) == "random")
            found[name] = "random" if random else f"const:{values.pop():g}"
    return found


@pytest.fixture(autouse=True, scope="module")
def silent_original() -> Iterator[None]:
    with silence():
        yield


RUNNERS: dict[str, tuple[Callable[..., object], ModuleType]] = {
    "autoinit": (autoinit.initialize, compat),
    "compat": (compat.initialize, compat),
    "classes-of-mmengine": (autoinit.initialize, mmengine.model),
    "mmengine": (mmengine.model.initialize, mmengine.model),
}


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("entry", WITH_OUTCOME, ids=lambda entry: entry["id"])
def test_outcome(entry: Entry, runner: str) -> None:
    initialize, library = RUNNERS[runner]
    model, cfg, expected = fresh_zoo(entry), config_of(entry, library), entry["mmengine"]
    before = copy.deepcopy(cfg)
    if not expected["ok"]:
        with pytest.raises(getattr(builtins, expected["error"])):
            initialize(model, cfg)
        assert runner == "mmengine" or touched(model, {}) == {}
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AutoInitWarning)
        initialize(model, cfg)
    assert touched(model, expected["touched"]) == expected["touched"]
    assert cfg == before
    expected_words = [WARNS[entry["id"]]] if runner != "mmengine" and entry["id"] in WARNS else []
    if runner in ("autoinit", "classes-of-mmengine"):
        expected_words = [r"TruncNormal\(.*\) truncates nothing"] * untruncated(entry["value"]) + expected_words
    assert len(caught) == len(expected_words)
    assert all(re.search(words, str(found.message)) for words, found in zip(expected_words, caught, strict=True))


@pytest.mark.parametrize("entry", WITHOUT_OUTCOME, ids=lambda entry: entry["id"])
def test_without_outcome(entry: Entry) -> None:
    cfg = config_of(entry, compat)
    if entry["id"] in NOT_PARSED:
        with pytest.raises(ConfigTypeError, match=NOT_PARSED[entry["id"]]):
            parse_config(cfg)
        return
    [rule] = parse_config(cfg)
    expected = {key: entry["value"][key] for key in ("checkpoint", "prefix") if key in entry["value"]}
    assert rule.initializer == Pretrained(**expected)
    assert [override.name for override in rule.override] == [(name,) for name in overridden_names(entry["value"])]
    if entry["id"] in NO_FILE:
        model = fresh_zoo(entry)
        with pytest.raises(autoinit.CheckpointError, match=NO_FILE[entry["id"]]):
            autoinit.initialize(model, cfg)
        assert touched(model, {}) == {}


def test_the_lists_of_entries_are_right() -> None:
    ids = [entry["id"] for entry in ENTRIES]
    assert len(set(ids)) == len(ids)
    assert set(WARNS) <= {entry["id"] for entry in WITH_OUTCOME}
    local = {entry["id"] for entry in WITHOUT_OUTCOME if "://" not in items_of(entry["value"])[0].get("checkpoint", "")}
    assert NOT_PARSED.keys() | NO_FILE.keys() == local
