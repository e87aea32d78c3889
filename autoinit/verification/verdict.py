"""What one test says of one parameter, which of many such say too much to be chance, and what `verify` decided."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import VerificationError
from ..tables import Result, Table

SHOWN = 20
"""Failures in the text of an exception; the verdict has all."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of one test.

    Args:
        test: what was tested: "mean", "variance", "shape", "range", "constant", "copies" ...
        pvalue: the probability of a deviation at least as large, if the parameter is what was asked for; 0 where it
            is impossible.
        statistic: what the test decides by.
        effect: the deviation in the units of the text.
        text: what was found, and what was to be expected.
        hint: a sentence on what the values look like, or an empty string.
        weight: its part of the false alarms of a model. Of all that goes wrong with an initialization, most shows in
            the variance first.
    """

    test: str
    pvalue: float
    statistic: float = 0.0
    effect: float = 0.0
    text: str = ""
    hint: str = ""
    weight: float = 1.0


def impossible(test: str, text: str, count: float = 0.0) -> Finding:
    """Something that cannot be if the parameter is what was asked for."""
    return Finding(test=test, pvalue=0.0, statistic=count, effect=count, text=text)


def rejected(findings: Iterable[Finding], alpha: float) -> float:
    """The largest p-value over weight that is rejected, so that any false one among all is with probability `alpha`.

    Source:
        Holm (1979), "A simple sequentially rejective multiple test procedure", with weights as in its section 3. It
        holds however the tests depend on each other.

    Returns:
        A negative number if none is.

    Example:
        >>> tests = [Finding(test="mean", pvalue=p) for p in (0.5, 1e-6, 2e-4, 0.04)]
        >>> rejected(tests, alpha=1e-3), rejected(tests[:1], alpha=1e-3)
        (0.0002, -1.0)
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
class Failure:
    """A test that a parameter fails.

    Args:
        fqn: of the parameter.
        test: "finite", "constant", "range", "mean", "variance", "shape", "written", "orthogonality", "sparsity",
            "repeats", "copies", "correlation", "outlier" or "checkpoint".
        statistic: what the test decides by.
        pvalue: the probability of a deviation at least as large in one test of a parameter that is right; 0 if it is
            impossible.
        effect: the size of the deviation: of a mean in standard deviations, of a std as a ratio less 1, else as the
            message says.
        power: with what probability such a deviation is found again, in a tensor of this size and as many tests.
        origin: where the rule was written.
        message: the parameter, what was found, what was asked for and by which rule.
    """

    fqn: str
    test: str
    statistic: float
    pvalue: float
    effect: float
    power: float
    origin: str
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was done with one parameter.

    Args:
        asked: the fill that it was tested against, or an empty string.
        tests: how many were made.
        pvalue: the smallest; None if none was made.
        detects: the relative error of std that is found in it with a probability of 0.99; None if std is not tested.
        untested: why nothing is known of its values, or an empty string. They are audited all the same.
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
        model: class name of the root.
        alpha: the probability that a model whose weights are right fails, over all its tests.
        level: the largest p-value that counts as a failure in this model; of a variance thrice that.
        parameters: by FQN, in model order.
        failures: least probable first.
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
        """The parameters of whose values nothing is known, each with the reason."""
        return {fqn: checked.untested for fqn, checked in self.parameters.items() if checked.untested}

    def raise_for_failures(self) -> None:
        """Do nothing if all is well.

        Raises:
            VerificationError: with the first failures in its text, and the verdict as `.verdict`.
        """
        __tracebackhide__ = True  # pytest then shows the line that asked.
        if self.failures:
            raise VerificationError(self._text(), fqn=self.failures[0].fqn, verdict=self)

    def _text(self) -> str:
        lines = [f"{self.caption}:", *(f"  {failure}" for failure in self.failures[:SHOWN])]
        if len(self.failures) > SHOWN:
            lines.append(f"  ... and {len(self.failures) - SHOWN} more")
        return "\n".join(lines)

    @property
    def caption(self) -> str:
        """The totals in one line."""
        wrong = len({failure.fqn for failure in self.failures})
        tested = len(self.parameters) - len(self.untested)
        found = f"{wrong} of {len(self.parameters)} parameters of {self.model} failed" if wrong else "ok"
        return f"{found}; {tested} tested, {len(self.untested)} audited only; alpha = {self.alpha:g}"

    def table(self) -> Table:
        """One row a parameter: what it was to be, how sharply that was tested, and what came of it."""
        failed: dict[str, list[str]] = {}
        for failure in self.failures:
            failed.setdefault(failure.fqn, []).append(failure.test)
        rows = [
            (
                fqn,
                checked.asked or f"not tested: {checked.untested}",
                str(checked.tests or ""),
                "" if checked.detects is None else f"{100 * checked.detects:.2g} %",
                "" if checked.pvalue is None else f"{checked.pvalue:.2g}",
                "FAILED: " + ", ".join(failed[fqn]) if fqn in failed else "" if checked.untested else "ok",
            )
            for fqn, checked in self.parameters.items()
        ]
        columns = ("parameter", "asked for", "tests", "sees std off by", "p", "verdict")
        return Table(title=f"Verdict on {self.model}", columns=columns, rows=rows, caption=self.caption)

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
