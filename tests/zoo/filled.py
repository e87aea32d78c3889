"""Parameters that rules filled or missed, and tests of their distributions, at one error rate for a whole sweep.

The tests are those of `closed_form`, on as many values as each needs. Each is made at a level of `FALSE_ALARM /
MOST_TESTS`, so that the probability of any false alarm in a sweep of up to `MOST_TESTS` tests is at most `FALSE_ALARM`,
however the tests depend on each other.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from autoinit import Report, Run
from autoinit.fills import Constant, Elementwise, Fill, Padded
from autoinit.planning import ReportEntry
from tests.closed_form import (
    ENOUGH_FOR_MOMENTS,
    bitwise_equal,
    largest_distance,
    mean_pvalue,
    range_pvalue,
    variance_pvalue,
)

from .findings import Difference

FILLED, OWN = "filled", "own init_weights"
FALSE_ALARM = 1e-3
MOST_TESTS = 10_000_000
LEVEL = FALSE_ALARM / MOST_TESTS
# An error of 2 % in the standard deviation of this many values is found with certainty at that level, and a tensor of a
# hundred million values costs no more than this one.
SAMPLE = 1 << 16
# Sorting them is what takes time. A uniform distribution instead of a normal one is found from 4,000.
SAMPLE_FOR_SHAPE = 1 << 13


class Distributions:
    """Tests tensors against fills, and counts the tests."""

    def __init__(self, sample: int = SAMPLE) -> None:
        self.sample = sample
        self.tests = 0

    def deviations(self, values: Tensor, fill: Fill | None) -> Iterator[str]:
        """The errors of a tensor, in words."""
        values = values.detach()
        if not values.numel():
            return
        if isinstance(fill, Constant):
            self.tests += 1
            if not bitwise_equal(values, torch.full_like(values, fill.value)):
                yield f"not all {fill.value}"
            return
        if isinstance(fill, Padded):
            for inner, part in fill.pieces(values):
                yield from self.deviations(part, inner)
            return
        if not isinstance(fill, Elementwise):
            raise TypeError(f"no closed form for {fill}")
        # In one pass over the tensor; NaN is the smallest and the largest of any values.
        if not all(map(math.isfinite, map(float, values.aminmax()))):
            yield "not all finite"
            return
        for test, pvalue in self._pvalues(spread(values, self.sample), fill).items():
            self.tests += 1
            if pvalue < LEVEL:
                yield f"{test} has p={pvalue:.2g} under {fill}"

    @staticmethod
    def _pvalues(values: Tensor, fill: Elementwise) -> dict[str, float]:
        found = {}
        # Rounded to few digits, many values are equal: their moments are right, their CDF is a staircase.
        if values.dtype == torch.float32:
            found |= {"range": range_pvalue(values, fill), "shape": _shape_pvalue(values, fill)}
        if values.numel() >= ENOUGH_FOR_MOMENTS:
            wide = values.double()
            found |= {"mean": mean_pvalue(wide, fill), "variance": variance_pvalue(wide, fill)}
        return found


def _shape_pvalue(values: Tensor, fill: Elementwise) -> float:
    """No less than the exact p-value, and at once: P(D > d) <= 2 exp(-2 n d^2) for every n (Massart 1990)."""
    ordered = spread(values, SAMPLE_FOR_SHAPE).sort().values.double()
    return min(1.0, 2 * math.exp(-2 * ordered.numel() * largest_distance(ordered, fill) ** 2))


def spread(values: Tensor, count: int) -> Tensor:
    """At most so many of a tensor's values, from all over it.

    Not every n-th: where n has a factor in common with the row's length, these would be from a few columns.
    """
    total = values.numel()
    if total <= count:
        return values.flatten()
    step = next(step for step in range(total // count, total) if math.gcd(step, total) == 1)
    return values.flatten()[torch.arange(count) * step % total]


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
