"""Configs as Python objects: real ones and random ones, changed at random."""

from __future__ import annotations

import json
import pathlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from . import objects
from .application import apply
from .models import MODELS

CORPUS = pathlib.Path(__file__).parents[1] / "data" / "real_init_cfgs.json"


@cache
def corpus() -> list[Any]:
    """The configs that were found in OpenMMLab's code."""
    return [entry["value"] for entry in dict(json.loads(CORPUS.read_text()))["corpus"]]


@dataclass(frozen=True)
class Case:
    """A model and a tree of objects."""

    model: str
    tree: Any


class Configs:
    """Real configs, and configs of random keys and values, with up to six things changed."""

    name = "configs"

    def case(self, seed: str) -> Case:
        rng = random.Random(seed)
        tree = rng.choice(corpus()) if rng.random() < 0.6 else [_item(rng) for _ in range(rng.randrange(1, 4))]
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 6))):
            tree = objects.mutated(tree, rng, rng.choice(corpus()))
        return Case(model=rng.choice(list(MODELS)), tree=tree)

    def run(self, case: Case) -> str:
        functions = [value for path in objects.paths(case.tree) if callable(value := objects.found(case.tree, path))]
        return apply(MODELS[case.model], lambda: objects.real(case.tree), runs_code=bool(functions))

    def smaller(self, case: Case) -> Iterator[Case]:
        for tree in objects.smaller(case.tree):
            yield Case(model=case.model, tree=tree)


def _item(rng: random.Random) -> dict[str, Any]:
    """A config that makes sense, most of the time."""
    item: dict[str, Any] = {"type": rng.choice(objects.TYPES)}
    arguments = {
        "Constant": {"val": rng.choice(objects.NUMBERS)},
        "Sparse": {"sparsity": rng.random()},
        "Kaiming": {"mode": rng.choice(("fan_in", "fan_out")), "a": rng.random()},
        "Normal": {"std": rng.choice(objects.NUMBERS)},
        "Uniform": {"a": -rng.random(), "b": rng.choice(objects.NUMBERS)},
        "TruncNormal": {"std": rng.random(), "a": rng.choice(objects.NUMBERS), "b": rng.choice(objects.NUMBERS)},
        "Pretrained": {"checkpoint": rng.choice(objects.STRINGS)},
    }
    item |= arguments.get(item["type"], {})
    if rng.random() < 0.6:
        item["layer"] = rng.choice(("Linear", "Conv2d", "BatchNorm2d", "MultiheadAttention", ["Linear", "Embedding"]))
    if rng.random() < 0.4:
        item["name"] = rng.choice(
            ("**", "layers.*", "**.attn", "re:.*fc.", "head", "head.weight", "**.bias", "normed", "a*.**", "lstm")
        )
    if rng.random() < 0.3:
        item["params"] = rng.choice(
            ("*", "weight", "bias", ["weight", "pos_embed"], "in_proj_*", "*_l0", "phase", "**.weight", "re:.*s")
        )
    if rng.random() < 0.2:
        item["within"] = rng.choice(("Sequential", "Linear", ["Module", "_NormBase"], "MultiheadAttention", "Net"))
    if rng.random() < 0.2:
        item["ndim"] = rng.choice((2, ">1", "!=1", ["<2", 4], "=>2", -1, ">=0", *objects.NUMBERS))
    if rng.random() < 0.2:
        item["fan"] = rng.choice(("torch", "layer", "in,out", {"out": 1, "in": 0}, (1, 2), 3))
    if rng.random() < 0.3:
        item["bias"] = rng.choice((0, 1.5, None, *objects.NUMBERS))
    return item
