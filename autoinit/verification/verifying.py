"""The question that a verdict answers: are these weights what was asked for?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from ..applying import check_module
from ..errors import ConfigError
from ..fills import Blocks, Elementwise, Fill, Orthogonal
from ..initializers.initializer import real
from ..planning import Fan, Policy, Unmatched
from .audit import audit
from .diagnosis import looks_like
from .distribution_tests import ENOUGH, VARIANCE
from .fill_tests import findings_of
from .laws import law_of
from .repeated_values import Head, bits_of, copies, head_of, repeats
from .statistics import power, quantile
from .subjects import Asked, Subject, subjects
from .verdict import Checked, Failure, Finding, Verdict, rejected

ORDER = {"variance": 1, "mean": 2, "shape": 3, "range": 4}
"""Of two tests that found the impossible the one that says more comes first: a NaN, a copy, then a wrong std."""


@dataclass(kw_only=True)
class Examination:
    """What was found of one parameter."""

    subject: Subject
    findings: list[Finding] = field(default_factory=list)
    detects: float | None = None


def verify(
    module: nn.Module,
    what: Asked = None,
    *,
    alpha: float = 1e-3,
    unmatched: Unmatched = "auto",
    fan: Fan = "auto",
) -> Verdict:
    """Decide whether a model's weights are what was asked for, however they were initialized.

    Every parameter that a rule covers is tested against the closed form of its fill, as rounded to its dtype: its
    mean (z or saddlepoint), its variance (chi-square or saddlepoint), its shape (Kolmogorov-Smirnov), its range, and
    whether slices of it repeat; constants and whole-tensor schemes are checked exactly. Between parameters clones and
    correlations are looked for. All others are audited: NaN, infinities, memory that was never written, outliers.

    Transient memory: a few MiB, and one more copy of a tensor that is computed, sharded or filled as a whole.

    Args:
        module: any model with memory.
        what: the config, plan or report that says what it was to get; None to audit it.
        alpha: the probability that a model whose weights are right fails, over all its tests (Holm 1979).
        unmatched: what to do about rules that select nothing; see `plan`.
        fan: how fans are read where a rule does not say; see `plan`.

    Raises:
        ConfigError: `alpha` is no probability; or what `plan` raises.
        MatchError: the plan or report is of another model.
        StateError: the model is on the meta device, or scipy is not installed.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
        >>> verdict = verify(model, dict(type="Kaiming", layer="Linear", mode="fan_in", bias=None))
        >>> verdict.ok
        False
        >>> print(verdict.failures[0])  # doctest: +NORMALIZE_WHITESPACE
        0.weight: std 0.07183, not 0.176777: off by -59.4 % (variance, impossible by chance). init_cfg asks for
        Normal(mean=0, std=0.176777). It is as if torch's default for Linear and Conv had stayed.
    """
    check_module(module, "verify")
    level = real(alpha, f"alpha={alpha!r}")
    if not 0 < level < 1:
        raise ConfigError(f"alpha={alpha!r} must be between 0 and 1: a rate of false alarms, such as 1e-3.")
    found, name = subjects(module, what, Policy(unmatched=unmatched, fan=fan))
    heads: dict[str, Head] = {}
    examined = {subject.entry.fqn: _examine(subject, heads) for subject in found}
    for fqn, finding in copies(heads):
        examined[fqn].findings.append(finding)
    return _judge(name, level, examined)


def _examine(subject: Subject, heads: dict[str, Head]) -> Examination:
    made = Examination(subject=subject)
    if not subject.has_values:
        return made
    values = subject.values()
    regions = list(subject.regions(values))
    for fill, region in regions:
        tests = list(findings_of(region, fill, subject.slack))
        # No rate of false alarms hangs on it: it words what is found to be a failure below.
        is_likely_wrong = any(finding.pvalue < 1e-3 for finding in tests)
        hint = looks_like(region, fill, subject.entry) if is_likely_wrong else ""
        made.findings += [replace(finding, hint=hint) for finding in tests]
    if subject.fill is None:
        made.findings += audit(values)
    elif subject.fill.is_random and not values.is_complex():
        drawn = [(fill, part) for fill, part in regions if fill.is_random or isinstance(subject.fill, Blocks)]
        bits = min((_bits(fill, part) for fill, part in drawn), default=0.0)
        made.findings += [finding for part in subject.without_padding(values) for finding in repeats(part, bits)]
    if regions and isinstance(regions[0][0], Elementwise):
        made.detects = _detects(regions[0][1], regions[0][0])
        heads[subject.entry.fqn] = _head(regions[0][1], regions[0][0])
    return made


def _bits(fill: Fill, tensor: Tensor) -> float:
    """How improbable it is that two values are equal, in bits."""
    if isinstance(fill, Elementwise):
        return law_of(fill, tensor.dtype).bits
    # A sparse one has equal values by intention.
    return bits_of(tensor) if isinstance(fill, Orthogonal) else 0.0


def _head(tensor: Tensor, fill: Elementwise) -> Head:
    law = law_of(fill, tensor.dtype)
    values = (head_of(tensor) - law.mean) / (law.std or 1.0)
    return Head(values=values, bits=law.bits, numel=tensor.numel())


def _detects(tensor: Tensor, fill: Elementwise) -> float | None:
    """The standard error of std, relative to it."""
    law = law_of(fill, tensor.dtype)
    return math.sqrt((law.kurtosis - 1) / tensor.numel()) / 2 if law.std and tensor.numel() >= ENOUGH else None


def _judge(name: str, alpha: float, examined: dict[str, Examination]) -> Verdict:
    findings = [finding for made in examined.values() for finding in made.findings]
    level = rejected(findings, alpha)
    strict = alpha / max(math.fsum(finding.weight for finding in findings), 1.0)
    failures = [
        _failure(finding, made.subject, strict)
        for made in examined.values()
        for finding in made.findings
        if finding.pvalue / finding.weight <= level
    ]
    failures.sort(key=lambda failure: (failure.pvalue, ORDER.get(failure.test, 0)))
    # From the middle of the distribution to the edge of rejection, and from there to where 99 of 100 lie beyond.
    reach = quantile(strict * VARIANCE / 2) + quantile(0.01)
    return Verdict(
        model=name,
        alpha=alpha,
        level=max(level, strict),
        parameters={fqn: _checked(made, reach) for fqn, made in examined.items()},
        failures=tuple(failures),
    )


def _failure(finding: Finding, subject: Subject, strict: float) -> Failure:
    entry = subject.entry
    asked = f" {entry.origin} asks for {entry.fill}." if subject.fill is not None else ""
    chance = f"p = {finding.pvalue:.2g}" if finding.pvalue else "impossible by chance"
    return Failure(
        fqn=entry.fqn,
        test=finding.test,
        statistic=finding.statistic,
        pvalue=finding.pvalue,
        effect=finding.effect,
        power=power(finding.pvalue, min(strict * finding.weight, 1.0)),
        origin=entry.origin,
        message=f"{entry.fqn}: {finding.text} ({finding.test}, {chance}).{asked}{finding.hint}",
    )


def _checked(made: Examination, reach: float) -> Checked:
    subject = made.subject
    pvalues = [finding.pvalue for finding in made.findings]
    return Checked(
        asked="" if subject.fill is None else subject.entry.gets,
        tests=len(pvalues),
        pvalue=min(pvalues, default=None),
        detects=None if made.detects is None else made.detects * reach,
        untested=subject.reason,
    )
