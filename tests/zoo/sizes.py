"""How large each model is and how long its checks take: measured by earlier sweeps, kept in `sizes.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from .findings import Findings
from .isolation import Tell
from .records import Record
from .subjects import Subject, library

FILE = Path(__file__).with_name("sizes.json")


class Size(NamedTuple):
    """Of one model.

    Args:
        values: elements of its parameters.
        seconds: of processor time that its examination took; 0 if it never was examined.
    """

    values: int
    seconds: float


Sizes = Mapping[str, Size]


def read_sizes(path: Path = FILE) -> dict[str, Size]:
    """By the keys of subjects."""
    return {key: Size(*size) for key, size in json.loads(path.read_text()).items()} if path.exists() else {}


def write_sizes(sizes: Sizes, path: Path = FILE) -> None:
    """One line per model, in the order of names, so that a new release of a library makes a short diff."""
    lines = [f" {json.dumps(key)}: {json.dumps(list(sizes[key]))}" for key in sorted(sizes)]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def with_measured(sizes: Sizes, records: Iterable[Record]) -> dict[str, Size]:
    """Sizes brought up to date by a sweep."""
    measured = {
        record.subject.key: Size(record.findings.values, round(record.findings.took, 1))
        for record in records
        if record.findings.built
    }
    return {**sizes, **measured}


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


def expected_seconds(subjects: Iterable[Subject], sizes: Sizes, jobs: int) -> float:
    """How long the examination of some models will take; of unknown ones as long as the average."""
    known = [size.seconds for size in sizes.values() if size.seconds]
    average = sum(known) / len(known) if known else 10.0
    total = sum(sizes[s.key].seconds or average if s.key in sizes else average for s in subjects)
    return total / jobs
