"""What one test says of one parameter, and which of many such say too much to be chance."""

from __future__ import annotations

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
    """

    test: str
    pvalue: float
    statistic: float = 0.0
    effect: float = 0.0
    text: str = ""


def impossible(test: str, text: str, count: float = 0.0) -> Finding:
    """Something that cannot be if the parameter is what was asked for."""
    return Finding(test=test, pvalue=0.0, statistic=count, effect=count, text=text)


def rejected(pvalues: Iterable[float], alpha: float) -> float:
    """The largest p-value that is rejected, so that any false one among all is rejected with probability `alpha`.

    Source:
        Holm (1979), "A simple sequentially rejective multiple test procedure". It holds however the tests depend on
        each other.

    Returns:
        A negative number if none is.

    Example:
        >>> rejected([0.5, 1e-6, 2e-4, 0.04], alpha=1e-3)
        0.0002
        >>> rejected([0.5, 0.9], alpha=1e-3)
        -1.0
    """
    ordered = sorted(pvalues)
    largest = -1.0
    for rank, pvalue in enumerate(ordered):
        if pvalue > alpha / (len(ordered) - rank):
            break
        largest = pvalue
    return largest
