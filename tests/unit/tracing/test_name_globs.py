"""Globs for some modules of a model and no others."""

from __future__ import annotations

import random

import pytest

from autoinit.globs import fqn_pattern
from autoinit.tracing.name_globs import shortest_globs

NAMES = [f"layers.{i}.{part}" for i in range(12) for part in ("attn.q", "attn.k", "mlp.up", "mlp.down")]
NAMES += ["embed", "norm", "head.q", "layer1.0.conv", "layer2.0.conv"]


@pytest.mark.parametrize(
    ("wanted", "globs"),
    [
        ([name for name in NAMES if name.endswith(".down")], ["**.down"]),
        ([name for name in NAMES if ".attn." in name], ["**.attn.*"]),
        ([name for name in NAMES if name.endswith("attn.q")], ["**.attn.q"]),
        ([name for name in NAMES if name.startswith("layers.")], ["layers.**"]),
        (["layers.3.mlp.up"], ["**.3.mlp.up"]),
        (["layer2.0.conv"], ["layer2.**"]),
        (["embed", "norm"], ["norm", "embed"]),
    ],
)
def test_globs_that_a_person_would_write(wanted: list[str], globs: list[str]) -> None:
    others = [name for name in NAMES if name not in wanted]
    found = shortest_globs(wanted, others)
    assert len(found) == len(globs)
    assert {name for name in NAMES for glob in found if fqn_pattern(glob)(name)} == set(wanted)


@pytest.mark.parametrize("seed", range(20))
def test_any_set_of_names_is_matched_exactly(seed: int) -> None:
    rng = random.Random(seed)
    wanted = rng.sample(NAMES, rng.randrange(1, len(NAMES)))
    others = [name for name in NAMES if name not in wanted]
    found = shortest_globs(wanted, others)
    assert {name for name in NAMES for glob in found if fqn_pattern(glob)(name)} == set(wanted)


def test_the_root_has_no_glob() -> None:
    assert shortest_globs([""], ["a"]) == []
