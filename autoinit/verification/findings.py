"""What one test says of one parameter, and which of many such say too much to be chance."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


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
        weight: its part of the false alarms of a model. Of all that goes wrong with an initialization, most shows in
            the variance first.
    """

    test: str
    pvalue: float
    statistic: float = 0.0
    effect: float = 0.0
    text: str = ""
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
