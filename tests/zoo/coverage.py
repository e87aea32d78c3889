"""Which parameters rules reached, by what they are called, and whether those are the ones that they are about."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from autoinit import Report, Run
from autoinit.planning import ReportEntry

from .findings import Difference

FILLED, OWN = "filled", "own init_weights"


def report_of(model: nn.Module, run: Run | None) -> Report:
    """The report of a model, among those of what else its construction built."""
    names = {name for name, _ in model.named_parameters()}
    reports = run.reports if run is not None else []
    for report in reports:
        if report.model == type(model).__name__ and names <= all_names(report.values()):
            return report
    raise LookupError(f"no report of {type(model).__name__} among {[report.model for report in reports]}")


def all_names(entries: Iterable[ReportEntry]) -> set[str]:
    return {name for entry in entries for name in (entry.fqn, *entry.aliases, *entry.stored)}


def coverage(report: Report) -> dict[str, Any]:
    """How many parameters and values were filled, and which were not, as JSON can hold it."""
    filled = [entry for entry in report.values() if entry.outcome == FILLED]
    counts: Counter[tuple[str, str, str]] = Counter()
    values: Counter[tuple[str, str, str]] = Counter()
    for entry in report.values():
        if entry.outcome != FILLED:
            key = entry.layer, generic_name(entry.fqn), reason(entry)
            counts[key] += 1
            values[key] += _numel(entry)
    return {
        "filled": len(filled),
        "values": sum(map(_numel, filled)),
        "uncovered": [[*key, count, values[key]] for key, count in counts.items()],
    }


def generic_name(fqn: str) -> str:
    """The name of a parameter in its module; of those in a list, the list's."""
    list_and_index = re.search(r"([^.]+)\.\d+$", fqn)
    return f"{list_and_index[1]}.N" if list_and_index else fqn.rpartition(".")[2]


def reason(entry: ReportEntry) -> str:
    if entry.kept:
        return entry.kept
    return "no rule" if entry.outcome == "kept" else entry.outcome


def missed(report: Report, expected: set[str]) -> Iterator[Difference]:
    """Parameters that were not filled, for whatever reason, although a rule is expected to, or the reverse."""
    for fqn, entry in report.items():
        is_expected = not expected.isdisjoint((fqn, *entry.aliases))
        if is_expected and entry.outcome != FILLED:
            yield Difference("missed", fqn, f"a rule is about this {entry.layer}: {reason(entry)}")
        elif not is_expected and entry.outcome == FILLED:
            yield Difference("unasked", fqn, f"no rule is about this {entry.layer}, and {entry.origin} filled it")


def _numel(entry: ReportEntry) -> int:
    return torch.Size(entry.shape or (0,)).numel()
