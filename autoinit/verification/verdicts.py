"""What `verify` decided, for every parameter and for the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import VerificationError
from ..tables import Result, Table

SHOWN = 20
"""Failures in the text of an exception; the verdict has all."""


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
