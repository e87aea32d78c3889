"""Failures of single parameters, and failures of many parameters that have one cause."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter

from ..tables import folded_names

NAMED = 3  # Names in the text on a cause.
ORDER = {"variance": 1, "mean": 2, "shape": 3, "range": 4}
"""Order of failures that are impossible by chance, the most telling first: a NaN, a copy, then a wrong std."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A test that a parameter fails.

    Args:
        fqn: FQN of the parameter.
        test: "finite", "constant", "range", "mean", "variance", "shape", "written", "orthogonality", "sparsity",
            "repeats", "copies", "correlation", "outlier" or "checkpoint".
        statistic: The statistic that the test decides by.
        pvalue: The probability of a deviation at least as large in one test of a parameter that is right; 0 if it is
            impossible.
        effect: Size of the deviation: of a mean in standard deviations, of a std as a ratio less 1, else as the
            message says.
        power: The probability that such a deviation is found again, in a tensor of this size and as many tests.
        origin: Where the rule was written.
        message: The parameter, what was found, what was asked for and by which rule.
        layer: Class name of the module that owns the parameter.
        asked: What the rule asks for, or an empty string.
        found: What was found.
        hint: The mistake that the values look like (`"mode were 'fan_out'"`), or an empty string.
    """

    fqn: str
    test: str
    statistic: float
    pvalue: float
    effect: float
    power: float
    origin: str
    message: str
    layer: str = ""
    asked: str = ""
    found: str = ""
    hint: str = ""

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"Failure({self.message})"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Parameters that fail alike: by the same test, under the same rule, and as the same mistake would have it.

    Args:
        failures: The most telling failure of each parameter.
        tests: The other tests that some of them fail.

    Example:
        >>> from torch import nn
        >>> from autoinit import initialize, verify
        >>> model, cfg = (
        ...     nn.ModuleList(nn.Linear(64, 32) for _ in range(9)),
        ...     dict(type="Kaiming", layer="Linear"),
        ... )
        >>> _ = initialize(model, cfg, seed=0)
        >>> print(
        ...     verify(model, dict(cfg, mode="fan_in")).causes[0]
        ... )  # doctest: +NORMALIZE_WHITESPACE
        9 parameters of Linear look as if mode were 'fan_out': {0..8}.weight: std off by +37.5 % to +42.6 %
        (variance, p at most 5.5e-115). init_cfg asks for Normal(mean=0, std=0.176777). Also: shape, range.
    """

    failures: tuple[Failure, ...]
    tests: tuple[str, ...]

    @property
    def label(self) -> str:
        """The cause in a few words."""
        return f"as if {self.hint}" if self.hint else f"in {self.failures[0].test}"

    @property
    def hint(self) -> str:
        """The mistake that the values look like, or an empty string."""
        return next((failure.hint for failure in self.failures if failure.hint), "")

    def __str__(self) -> str:
        first = self.failures[0]
        also = f" Also: {', '.join(self.tests)}." if self.tests else ""
        if len(self.failures) == 1:
            return f"{first.message}{also}"
        layers = ", ".join(dict.fromkeys(failure.layer for failure in self.failures))
        alike = sum(failure.hint == self.hint for failure in self.failures)
        some = "" if alike == len(self.failures) else f", of which {alike}"
        look = f"look as if {self.hint}" if self.hint else f"fail the test of {first.test}"
        names = folded_names(failure.fqn for failure in self.failures)
        shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        likeliest = max(failure.pvalue for failure in self.failures)
        chance = f"p at most {likeliest:.2g}" if likeliest else "impossible by chance"
        where = "" if all(failure.asked == first.asked for failure in self.failures) else f" in {first.fqn}"
        asked = f" {first.origin} asks for {first.asked}{where}." if first.asked else ""
        return (
            f"{len(self.failures)} parameters of {layers}{some} {look}: {shown}: {self._deviation()} "
            f"({first.test}, {chance}).{asked}{also}"
        )

    def __repr__(self) -> str:
        return f"Cause({self})"

    def _deviation(self) -> str:
        first, effects = self.failures[0], sorted(failure.effect for failure in self.failures)
        ends = effects[0], effects[-1]
        if first.test == "variance":
            return f"std off by {' to '.join(dict.fromkeys(f'{100 * effect:+.3g} %' for effect in ends))}"
        if first.test == "mean":
            return f"mean off by {' to '.join(dict.fromkeys(f'{effect:+.3g}' for effect in ends))} std"
        return f"in {first.fqn}, {first.found}"


def causes(failures: Iterable[Failure], order: Iterable[str] = ()) -> tuple[Cause, ...]:
    """Failures by cause, in the order of the first failure of each; a cause shows its parameters in `order`."""
    by_parameter: dict[str, list[Failure]] = {}
    for failure in failures:
        by_parameter.setdefault(failure.fqn, []).append(failure)
    telling = [next((each for each in found if each.hint), found[0]) for found in by_parameter.values()]
    groups: dict[tuple[str, ...], list[Failure]] = {}
    for failure in telling:
        groups.setdefault((failure.test, failure.origin, failure.hint), []).append(failure)
    places = {fqn: place for place, fqn in enumerate(order)}
    made = []
    for group in _joined(groups):
        tests = {each.test for failure in group for each in by_parameter[failure.fqn]} - {group[0].test}
        ordered = sorted(group, key=lambda failure: places.get(failure.fqn, 0))
        made.append(Cause(failures=tuple(ordered), tests=in_order(tests)))
    return tuple(made)


def in_order(tests: Iterable[str]) -> tuple[str, ...]:
    """Names of tests, the most telling first."""
    return tuple(sorted(tests, key=lambda test: (ORDER.get(test, 0), test)))


def _joined(groups: dict[tuple[str, ...], list[Failure]]) -> Iterable[list[Failure]]:
    """The groups; failures without a hint join those with one if their deviations are like theirs.

    A hint is missing now and then by chance: values that are what a mistake gives fail one of its tests in some
    percent of all parameters.
    """
    for test, origin, hint in filter(itemgetter(2), groups):
        group, unexplained = groups[test, origin, hint], groups.get((test, origin, ""), [])
        low, high = min(failure.effect for failure in group), max(failure.effect for failure in group)
        alike = [failure for failure in unexplained if 2 * low - high <= failure.effect <= 2 * high - low]
        group += alike
        unexplained[:] = [failure for failure in unexplained if failure not in alike]
    return filter(None, groups.values())
