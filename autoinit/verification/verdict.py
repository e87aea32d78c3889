"""The verdict on a model, made of the findings of its parameters' tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import VerificationError
from ..planning.cells import by_position
from ..tables import LONG, Result, Table, listed
from .failures import Cause, Failure, causes, in_order

RANGES = ("tests", "detectable std error", "p")
"""Columns of numbers, of which a folded table shows the lowest and the highest."""
SHOWN = 3  # Causes in the line of totals.


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of one test; see `Failure`."""

    test: str
    pvalue: float
    statistic: float = 0.0
    effect: float = 0.0
    text: str = ""
    hint: str = ""  # The mistake that the values look like.
    weight: float = 1.0  # Its part of the false alarms of a model. Most mistakes show in the variance first.


def impossible(test: str, text: str, count: float = 0.0) -> Finding:
    """A finding that a parameter which is right never has."""
    return Finding(test=test, pvalue=0.0, statistic=count, effect=count, text=text)


def rejected(findings: Iterable[Finding], alpha: float) -> float:
    """The largest rejected p-value over weight, -1 if none is: any false rejection has a probability of `alpha`.

    Source:
        Holm (1979), "A simple sequentially rejective multiple test procedure", with weights as in its section 3. It
        holds however the tests depend on each other.
    """
    ordered = sorted(findings, key=lambda finding: finding.pvalue / finding.weight)
    left, largest = math.fsum(finding.weight for finding in ordered), -1.0
    for finding in ordered:
        if finding.pvalue / finding.weight > alpha / left:
            break
        largest = finding.pvalue / finding.weight
        left -= finding.weight
    return largest


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The tests of one parameter.

    Args:
        asked: The fill that it was tested against, or an empty string.
        tests: Number of tests.
        pvalue: The smallest p-value; None without tests.
        detects: The relative error of std that is found in it with a probability of 0.99; None if std is not tested.
        untested: Why nothing is known of its values, or an empty string. They are audited all the same.
    """

    asked: str
    tests: int
    pvalue: float | None
    detects: float | None
    untested: str


@dataclass(frozen=True, kw_only=True)
class Verdict(Result):
    """Whether a model's weights are what was asked for.

    Args:
        model: Class name of the root.
        alpha: The probability that a model whose weights are right fails, over all its tests.
        level: The largest p-value that counts as a failure in this model; of a variance thrice that.
        parameters: By FQN, in model order.
        failures: Least probable first.
    """

    model: str
    alpha: float
    level: float
    parameters: Mapping[str, Checked]
    failures: tuple[Failure, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def untested(self) -> dict[str, str]:
        """The parameters whose values were only audited, each with the reason."""
        return {fqn: checked.untested for fqn, checked in self.parameters.items() if checked.untested}

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The failures by what they have in common: the test, the rule, and the mistake that the values look like."""
        return causes(self.failures, self.parameters)

    def raise_for_failures(self) -> None:
        """Raise if a parameter failed.

        Raises:
            VerificationError: Its text lists the causes; `.verdict` is this verdict.
        """
        __tracebackhide__ = True  # pytest then shows the line that asked.
        if self.failures:
            raise VerificationError(f"{self.caption}:\n{listed(self.causes)}", fqn=self.failures[0].fqn, verdict=self)

    @property
    def caption(self) -> str:
        """The totals in one line."""
        causes, tested = self.causes, len(self.parameters) - len(self.untested)
        found = "ok"
        if causes:
            wrong = sum(len(cause.failures) for cause in causes)
            labels = [f"{len(cause.failures)} {cause.label}" for cause in causes[:SHOWN]]
            labels += ["..."] if len(causes) > SHOWN else []
            alike = f" ({', '.join(labels)})" if wrong > 1 else ""
            found = f"{wrong} of {len(self.parameters)} parameters of {self.model} failed{alike}"
        return f"{found}; {tested} tested, {len(self.untested)} audited only; alpha = {self.alpha:g}"

    def table(self, *, full: bool = False) -> Table:
        """One row per parameter: what it should hold, how sharply that was tested, and the result.

        Args:
            full: Whether to show every parameter of a large model in model order. By default parameters that differ
                only in numbers of their names share a row, and those that failed come first.
        """
        if full or len(self.parameters) <= LONG:
            return self._table(self.parameters, lambda asked: asked)
        failed = {failure.fqn for failure in self.failures}
        order = sorted(self.parameters, key=lambda fqn: fqn not in failed)
        tables = [self._table(order, asked).folded(RANGES) for asked in (by_position, lambda text: text.split("(")[0])]
        return next((table for table in tables if len(table.rows) <= LONG), tables[-1])

    def _table(self, order: Iterable[str], asked: Callable[[str], str]) -> Table:
        failed: dict[str, list[str]] = {}
        for failure in self.failures:
            failed.setdefault(failure.fqn, []).append(failure.test)
        rows = [
            (
                fqn,
                asked(checked.asked) or f"not tested: {checked.untested}",
                str(checked.tests or ""),
                "" if checked.detects is None else f"{100 * checked.detects:.2g} %",
                "" if checked.pvalue is None else f"{checked.pvalue:.2g}",
                "FAILED: " + ", ".join(in_order(failed[fqn])) if fqn in failed else "" if checked.untested else "ok",
            )
            for fqn, checked in ((fqn, self.parameters[fqn]) for fqn in order)
        ]
        found = f"\n{listed(self.causes)}" if self.failures else ""
        return Table(
            title=f"Verdict on {self.model}",
            columns=("parameter", "asked for", *RANGES, "verdict"),
            rows=rows,
            caption=f"{self.caption}{found}",
            optional=RANGES,
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as strings, numbers, lists and dicts."""
        return {
            "model": self.model,
            "ok": self.ok,
            "alpha": self.alpha,
            "level": self.level,
            "failures": [asdict(failure) for failure in self.failures],
            "parameters": {fqn: asdict(checked) for fqn, checked in self.parameters.items()},
        }

    def __repr__(self) -> str:
        return f"Verdict({self.model}: {self.caption})"
