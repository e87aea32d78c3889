"""How large each model is, where a library has its models in sizes: kept in `sizes.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from .findings import Findings
from .isolation import Tell
from .subjects import Subject, library

FILE = Path(__file__).with_name("sizes.json")
SIZED = ("torchvision", "timm")
"""The libraries that the file is about. Models of transformers are all made small."""

Sizes = Mapping[str, float]
"""Millions of values in a model's parameters, by the keys of subjects."""


def read_sizes(path: Path = FILE) -> dict[str, float]:
    return {
        f"{family.partition('/')[0]}/{name}": millions
        for family, models in _read_families(path).items()
        for name, millions in models.items()
    }


def write_sizes(subjects: Iterable[Subject], sizes: Sizes, path: Path = FILE) -> None:
    """The sizes of whole libraries beside those of others: a line per family makes the diff of a new release short."""
    subjects = [subject for subject in subjects if subject.library in SIZED]
    written = {subject.library for subject in subjects}
    families = {key: models for key, models in _read_families(path).items() if key.partition("/")[0] not in written}
    for subject in sorted(subjects):
        families.setdefault(f"{subject.library}/{subject.family}", {})[subject.name] = round(sizes[subject.key], 2)
    lines = [f"{json.dumps(key)}: {json.dumps(families[key])}" for key in sorted(families)]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _read_families(path: Path) -> dict[str, dict[str, float]]:
    return json.loads(path.read_text()) if path.exists() else {}


def count(tell: Tell, library_name: str, name: str) -> Findings:
    """The size of a model, on the meta device if its constructor can run there."""
    build = library(library_name).builder(name)
    findings = Findings()
    try:
        with torch.device("meta"):
            model = build()
    except Exception:
        model = build()
    findings.values = sum(param.numel() for param in model.parameters())
    return findings
